"""The same tiny photos, with a red and a blue square each, as three labelling tools export them."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 24
SIZE_WH = (96, 72)
NAMES = ("red", "blue")


def _draw_photos(folder, first, count):
    """File name -> corners (x, y) of the upper left of each square, by class."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = {}
    for number in range(first, first + count):
        image = Image.new("RGB", SIZE_WH, (90, 120, 90))
        pen = ImageDraw.Draw(image)
        corners = [(2 + number, 3 * (number % 12)), (50 + number % 8, 40 - number % 20)]
        for (x, y), colour in zip(corners, NAMES, strict=True):
            pen.rectangle([x, y, x + SIDE, y + SIDE], fill=colour)
        image.save(folder / f"p{number}.jpg")
        placed[f"p{number}.jpg"] = corners
    return placed


def polygon(x, y):
    """x and y in turn of a square's corners."""
    return [x, y, x + SIDE, y, x + SIDE, y + SIDE, x, y + SIDE]


def write_roboflow(root, *, outlines=True):
    """COCO JSON in train/ (6 photos) and valid/ (2), with a category 0 that groups the others."""
    categories = [{"id": 0, "name": "shapes", "supercategory": "none"}]
    categories += [
        {"id": i, "name": name, "supercategory": "shapes"} for i, name in enumerate(NAMES, 1)
    ]
    for split, first, count in (("train", 0, 6), ("valid", 6, 2)):
        images, annotations = [], []
        for file_name, corners in _draw_photos(root / split, first, count).items():
            image = {"id": len(images), "file_name": file_name}
            images.append({**image, "width": SIZE_WH[0], "height": SIZE_WH[1]})
            for category, (x, y) in enumerate(corners, 1):
                annotation = {
                    "id": len(annotations),
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [x, y, SIDE, SIDE],
                    "area": SIDE * SIDE,
                    "iscrowd": 0,
                }
                if outlines:
                    annotation["segmentation"] = [polygon(x, y)]
                annotations.append(annotation)
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def write_labelme(root):
    """A JSON file beside each of eight photos."""
    for file_name, corners in _draw_photos(root, 0, 8).items():
        shapes = []
        for label, (x, y) in zip(NAMES, corners, strict=True):
            flat = polygon(x, y)
            points = list(zip(flat[::2], flat[1::2], strict=True))
            shapes.append({"label": label, "points": points, "shape_type": "polygon"})
        content = {"version": "5.0", "imagePath": file_name, "imageData": None, "shapes": shapes}
        content |= {"imageWidth": SIZE_WH[0], "imageHeight": SIZE_WH[1]}
        (root / file_name).with_suffix(".json").write_text(json.dumps(content))
    return root


def write_yolo(root):
    """data.yaml, and a text file of relative polygons for each of six and two photos."""
    for split, first, count in (("train", 0, 6), ("val", 6, 2)):
        labels = root / "labels" / split
        labels.mkdir(parents=True)
        placed = _draw_photos(root / "images" / split, first, count)
        for file_name, corners in placed.items():
            lines = []
            for category, (x, y) in enumerate(corners):
                flat = polygon(x, y)
                relative = [value / SIZE_WH[i % 2] for i, value in enumerate(flat)]
                lines.append(f"{category} " + " ".join(f"{value:.5f}" for value in relative))
            (labels / Path(file_name).with_suffix(".txt")).write_text("\n".join(lines))
    names = ", ".join(NAMES)
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{names}]\n")
    return root


WRITERS = {"roboflow": write_roboflow, "labelme": write_labelme, "yolo": write_yolo}

TINY = (
    *("DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64"),
    *("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "TEST.DETECTIONS_PER_IMG", "5"),
)
"""Settings of a training in seconds."""
