"""Photos and a model of nothing, to try runs over many photos with."""

import torch
from PIL import Image

from maskrcnn_benchmark.engine.detections import Detections
from maskrcnn_benchmark.prediction.bulk.local import LocalWork
from maskrcnn_benchmark.structures.bounding_box import BoxList


def write_photos(folder, count, size_wh=(12, 8)):
    """Names of ``count`` photos of different colours."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:05d}.png" for number in range(count)]
    for number, name in enumerate(names):
        Image.new("RGB", size_wh, (number % 256, number // 256, 0)).save(folder / name)
    return names


def find_colours(photos):
    """One object a photo, whose score is how red the photo is."""
    found = []
    for photo in photos:
        boxes = BoxList([[1.0, 2.0, 5.0, 6.0]], photo.size)
        boxes.add_field("labels", torch.tensor([1]))
        boxes.add_field("scores", torch.tensor([photo.getpixel((0, 0))[0] / 255]))
        boxes.add_field("mask", torch.ones(1, 1, 4, 4))
        found.append(Detections(boxes, {1: "thing"}, {1: 7}))
    return found


def make_work(find=find_colours, batch=1, threshold=0.0):
    """Work with a finder in place of a model."""
    return LocalWork(find, threshold, batch)
