"""Time how photos become batches, beside torchvision: ``python -m benchmarks loading``.

Processor time of one thread for each image of the bundled photos, from the JPEG file to normalised
float32 batches of two with boxes and masks as targets: decoding, resizing to 800 and at most 1333
px, flipping one half, normalising. Torchvision's way is that of its detection references: its
transforms ``v2`` on ``tv_tensors``, with masks that pycocotools has drawn.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.measure import medians
from maskrcnn_benchmark.config import CfgNode, get_default_config
from maskrcnn_benchmark.data.collate_batch import BatchCollator
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.datasets.seeded_dataset import SeededDataset
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.data.transforms import (
    RESIZE_BACKENDS,
    build_pixel_normalizer,
    build_pixel_transforms,
)
from maskrcnn_benchmark.timing.machine import circumstances

FOLDER = Path(__file__).resolve().parents[1] / "datasets" / "quickstart"
ANNOTATIONS, PHOTOS = FOLDER / "annotations" / "instances_train.json", FOLDER / "train"
BATCH = 2


def settings(backend: str) -> CfgNode:
    """The default settings with a way to resize."""
    cfg = get_default_config()
    cfg.merge_from_list(["INPUT.RESIZE_BACKEND", backend])
    return cfg


def our_batches(backend: str, num_images: int) -> Callable[[], object]:
    """What makes batches of all images as training does, and normalises them."""
    cfg = settings(backend)
    dataset = COCODataset(ANNOTATIONS, PHOTOS, remove_images_without_annotations=True)
    seeded = SeededDataset(dataset, build_pixel_transforms(cfg), seed=0)
    collate = BatchCollator(32, build_pixel_normalizer(cfg))

    def load() -> None:
        for first in range(0, num_images, BATCH):
            batch = collate([seeded[index] for index in range(first, first + BATCH)])
            batch.images.to("cpu")

    return load


class TorchvisionPhotos:
    """The same photos and objects by torchvision's transforms."""

    def __init__(self) -> None:
        self.coco = COCO(str(ANNOTATIONS))
        ours = COCODataset(ANNOTATIONS, PHOTOS, remove_images_without_annotations=True)
        self.image_ids = ours.image_ids
        self.transforms = v2.Compose(
            [
                v2.ToImage(),
                v2.Resize(800, max_size=1333),
                v2.RandomHorizontalFlip(0.5),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __getitem__(self, index: int) -> object:
        image_id = self.image_ids[index]
        photo = read_image(PHOTOS / self.coco.imgs[image_id]["file_name"])
        objects = [each for each in self.coco.imgToAnns[image_id] if not each["iscrowd"]]
        masks = np.stack([self.coco.annToMask(each) for each in objects])
        boxes = torch.tensor([each["bbox"] for each in objects])
        size_hw = (photo.height, photo.width)
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYWH", canvas_size=size_hw),
            "masks": tv_tensors.Mask(torch.from_numpy(masks)),
            "labels": torch.tensor([each["category_id"] for each in objects]),
        }
        return self.transforms(photo, target)


def their_batches(num_images: int) -> Callable[[], object]:
    """What makes torchvision's samples of all images; its models make batches of them."""
    photos = TorchvisionPhotos()
    return lambda: [photos[index] for index in range(num_images)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--images", type=int, default=24, help="photos a turn (default: 24)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random.seed(0)
    torch.manual_seed(0)
    works = {
        f"ours, INPUT.RESIZE_BACKEND {backend}": our_batches(backend, options.images)
        for backend in RESIZE_BACKENDS
    }
    works["torchvision v2"] = their_batches(options.images)
    times = medians(list(works.values()), options.rounds, threads=1)
    print(circumstances())
    print(
        f"Processor time of one thread, median of {options.rounds} turns of {options.images} photos"
    )
    for name, milliseconds in zip(works, times, strict=True):
        print(f"{name:32} {milliseconds / options.images:6.2f} ms an image")


if __name__ == "__main__":
    main()
