"""The work that mask operators are timed at."""

import numpy as np
import pycocotools.mask as mask_utils
import torch
from torch import Tensor

from benchmarks.workloads import FLOAT, IMAGE_WH, Case, random_boxes
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.mask_targets import crop_and_rasterize
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def blobs(count: int, side: int) -> Tensor:
    """(count, 1, side, side) probabilities of uneven discs."""
    axis = torch.linspace(-1, 1, side)
    distance = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    logits = 8 * (0.8 - distance + 0.1 * torch.randn(count, 1, 1))
    return (logits + 0.3 * torch.randn(count, side, side)).sigmoid()[:, None]


def paste_case(count: int) -> Case:
    """Masks of an image as COCO's run lengths; two products and a comparison a pixel."""
    boxes, probabilities = BoxList(random_boxes(count), IMAGE_WH), blobs(count, 28)
    masks = BoxMasks(probabilities, boxes.bbox, boxes.size)

    def paste_and_encode() -> list[object]:
        return [mask_utils.encode(np.asfortranarray(plane)) for plane in masks.planes().numpy()]

    return Case(
        title=f"paste_masks_rle, {count} masks of 28 x 28",
        ours=masks.encode,
        theirs=paste_and_encode,
        peer="paste, mask.encode",
        goal=20,
        num_bytes=probabilities.nbytes,
        num_flops=4 * float(boxes.area().sum()),
    )


def stars(boxes: Tensor, num_points: int) -> list[list[list[float]]]:
    """One uneven polygon in each box."""
    angles = torch.linspace(0, 2 * torch.pi, num_points + 1)[:-1]
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    centers, halves = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    radii = 1 - 0.3 * torch.rand(len(boxes), num_points, 1)
    points = centers[:, None] + halves[:, None] * directions * radii
    return [[polygon.flatten().tolist()] for polygon in points]


def polygon_case(num_rois: int, num_truths: int) -> Case:
    """Mask targets of the proposals of an image; the least is to write them."""
    truths, side = random_boxes(num_truths), 28
    owners = torch.randint(0, num_truths, (num_rois,))
    rois = truths[owners] + 8 * torch.randn(num_rois, 4)
    masks = SegmentationMask(stars(truths, 40), IMAGE_WH)[owners]

    def one_by_one() -> Tensor:
        crops = [mask.crop(roi).resize((side, side)) for mask, roi in zip(masks, rois, strict=True)]
        return torch.cat([crop.to_bitmasks() for crop in crops])

    return Case(
        title=f"polygon targets, {num_rois} rois of 28 x 28, 40 points",
        ours=lambda: crop_and_rasterize(masks, rois, side),
        theirs=one_by_one,
        peer="crop, resize, pycocotools",
        goal=10,
        num_bytes=num_rois * side * side + num_truths * 40 * 2 * FLOAT,
        # Both corners of 40 edges, moved and scaled; about 56 crossings of five operations.
        num_flops=num_rois * (40 * 6 + 56 * 5),
    )
