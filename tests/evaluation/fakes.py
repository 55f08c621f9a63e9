"""Data sets and detections whose right answers are known."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.structures.bounding_box import BoxList

QUICKSTART = Path(__file__).parents[2] / "datasets" / "quickstart" / "annotations"


def quickstart_annotations(split):
    return json.loads((QUICKSTART / f"instances_{split}.json").read_text())


class FakeDataset:
    """What COCOEvaluator needs of a data set, from COCO JSON content in memory."""

    def __init__(self, content, name="fake"):
        self.content = content
        self.name = name
        self.image_ids = [image["id"] for image in content["images"]]
        ids = sorted(category["id"] for category in content["categories"])
        self.contiguous_category_id_to_json_id = {i + 1: value for i, value in enumerate(ids)}

    def get_img_info(self, index):
        return self.content["images"][index]

    def ground_truth(self):
        return copy.deepcopy(self.content)


def square_annotation(id, image_id, category_id, xywh, **extra):
    x, y, width, height = xywh
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(xywh),
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [corners],
        **extra,
    }


def two_image_content(annotations=None):
    """Two images of 100 x 80 px (w, h), categories 3 'cat' and 7 'dog'; one object of 40 x 40."""
    return {
        "images": [
            {"id": 11, "width": 100, "height": 80, "file_name": "a.jpg"},
            {"id": 12, "width": 100, "height": 80, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [square_annotation(1, 11, 7, (10, 10, 40, 40))]
        if annotations is None
        else annotations,
    }


def detections(boxes_xyxy, labels, scores, size_wh=(100, 80), mask_side=28):
    """Detections whose masks fill their boxes."""
    boxes = torch.as_tensor(boxes_xyxy, dtype=torch.float32).reshape(-1, 4)
    result = BoxList(boxes, size_wh, mode="xyxy")
    result.add_field("labels", torch.as_tensor(labels, dtype=torch.int64))
    result.add_field("scores", torch.as_tensor(scores, dtype=torch.float32))
    result.add_field("mask", torch.ones(len(boxes), 1, mask_side, mask_side))
    return result


def _shifted_mask(annotation, image, shift_xy):
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        shift = [shift_xy[position % 2] for position in range(max(map(len, segmentation)))]
        segmentation = [
            [value + delta for value, delta in zip(polygon, shift, strict=False)]
            for polygon in segmentation
        ]
    rles = coco_mask.frPyObjects(segmentation, image["height"], image["width"])
    encoded = coco_mask.merge(rles) if isinstance(rles, list) else rles
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}


def synthetic_results(content, iou_type, seed=0):
    """COCO results: each ground truth found 0 to 3 times, moved a little, often mislabelled.

    Scores have two decimals, so that many are equal.
    """
    rng = np.random.default_rng(seed)
    images = {image["id"]: image for image in content["images"]}
    category_ids = [category["id"] for category in content["categories"]]
    results = []
    for annotation in content["annotations"]:
        for _ in range(rng.integers(0, 4)):
            x, y, width, height = annotation["bbox"]
            dx, dy, dw, dh = rng.normal(0, 0.08, 4) * [width, height, width, height]
            right = rng.random() < 0.8
            category = annotation["category_id"] if right else int(rng.choice(category_ids))
            result = {
                "image_id": annotation["image_id"],
                "category_id": category,
                "score": round(float(rng.random()), 2),
            }
            if iou_type == "bbox":
                box = [x + dx, y + dy, max(1.0, width + dw), max(1.0, height + dh)]
                result["bbox"] = [float(value) for value in box]
            else:
                image = images[annotation["image_id"]]
                result["segmentation"] = _shifted_mask(annotation, image, (dx, dy))
            results.append(result)
    return results
