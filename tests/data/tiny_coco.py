"""Hand-made data sets in COCO's format, written to a folder."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SQUARE = [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]]
"""Polygon of the pixels 2..5 x 1..4."""


def image(image_id=1, width=10, height=8, file_name=None):
    """An entry of "images"."""
    return {
        "id": image_id,
        "width": width,
        "height": height,
        "file_name": file_name or f"{image_id}.png",
    }


def annotation(annotation_id=1, image_id=1, category_id=3, bbox=(2, 1, 4, 4), **more):
    """An entry of "annotations": a square of 4 x 4 px, unless told otherwise."""
    entry = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(bbox),
        "segmentation": SQUARE,
        "area": 16,
        "iscrowd": 0,
    }
    return {**entry, **more}


def without(entry, key):
    """The entry without one of its keys."""
    return {name: value for name, value in entry.items() if name != key}


def content(images=None, annotations=None, categories=None):
    """A whole annotation file: one image, one square, categories 3 "cat" and 7 "dog"."""
    return {
        "images": [image()] if images is None else images,
        "annotations": [annotation()] if annotations is None else annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
        if categories is None
        else categories,
    }


def photo(image_id, width, height):
    """(height, width, 3) uint8 pixels that depend on the image and the place."""
    rng = np.random.default_rng(image_id)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, data=None, with_images=True, name="annotations.json"):
    """(ann_file, root) of a data set written to ``folder``; ``data`` as ``content`` gives it."""
    data = content() if data is None else data
    ann_file = folder / name
    ann_file.write_text(json.dumps(data))
    root = folder / "images"
    root.mkdir(exist_ok=True)
    if with_images:
        for entry in data["images"]:
            pixels = photo(entry["id"], entry["width"], entry["height"])
            Image.fromarray(pixels).save(root / entry["file_name"])
    return ann_file, root
