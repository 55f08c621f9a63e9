"""One scene, to be written in every format: two photos with a square each.

a.png is 12 x 10 px with a cat on the pixels 2..5 x 1..4, b.png 10 x 8 px with a dog on 4..8 x 3..6.
"""

import json

import numpy as np
from PIL import Image

from maskrcnn_benchmark.data.datasets import COCODataset

SIZES = {"a.png": (12, 10), "b.png": (10, 8)}
CAT = (2, 1, 6, 5)
DOG = (4, 3, 9, 7)
CORNERS = {"a.png": ("cat", CAT), "b.png": ("dog", DOG)}
"""Photo -> class, and corners (x1, y1, x2, y2) of the square, px edges."""


def polygon(corners):
    """x and y in turn of the square's corners."""
    x1, y1, x2, y2 = corners
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def points(corners):
    """The square's corners as pairs."""
    flat = polygon(corners)
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def write_photos(folder, names=SIZES):
    """The photos, black."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", SIZES[name]).save(folder / name)


def write_json(path, content):
    """A JSON file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def mask(name, value=1):
    """(H, W) with the value on the square of a photo."""
    width, height = SIZES[name]
    x1, y1, x2, y2 = CORNERS[name][1]
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[y1:y2, x1:x2] = value
    return pixels


def read(part):
    """The data set of a part."""
    return COCODataset.from_content(part.reader(part.annotations, part.images), part.images)


def found(dataset):
    """File name -> (class, box x1 y1 x2 y2 with px edges, pixels of the mask) of every object."""
    seen = {}
    for index in range(len(dataset)):
        _, target, _ = dataset[index]
        # The corners of a BoxList are pixels, both inside.
        boxes = [tuple(int(v) for v in (x1, y1, x2 + 1, y2 + 1)) for x1, y1, x2, y2 in target.bbox]
        names = [dataset.categories[label] for label in target.labels.tolist()]
        areas = (
            [int(plane.sum()) for plane in target.get_field("masks").to_bitmasks()]
            if dataset.has_masks
            else [None] * len(boxes)
        )
        seen[dataset.get_img_info(index)["file_name"]] = list(zip(names, boxes, areas, strict=True))
    return seen


SCENE = {"a.png": [("cat", CAT, 16)], "b.png": [("dog", DOG, 20)]}
ONE_CLASS = {"a.png": [("object", CAT, 16)], "b.png": [("object", DOG, 20)]}


COCO_CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def coco_content(names=("a.png", "b.png"), categories=COCO_CATEGORIES, prefix=""):
    """A COCO file of some photos, whose names begin with ``prefix``."""
    ids = {category["name"]: category["id"] for category in categories}
    images, annotations = [], []
    for number, name in enumerate(names, start=1):
        width, height = SIZES[name]
        images.append({"id": number, "file_name": prefix + name, "width": width, "height": height})
        label, corners = CORNERS[name]
        x1, y1, x2, y2 = corners
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": [polygon(corners)],
            }
        )
    return {"images": images, "annotations": annotations, "categories": categories}


def labelme_shape(label, kind, coordinates, **more):
    """One of "shapes"."""
    return {"label": label, "shape_type": kind, "points": coordinates, "group_id": None, **more}


def labelme_document(name, *shapes, **more):
    """The content of the file of a photo."""
    width, height = SIZES[name]
    size = {"imageWidth": width, "imageHeight": height}
    return {"version": "5.4.1", "shapes": list(shapes), "imagePath": name, **size, **more}


def write_labelme(folder, name, *shapes, **more):
    """A photo and the file beside it."""
    write_photos(folder, [name])
    write_json((folder / name).with_suffix(".json"), labelme_document(name, *shapes, **more))
