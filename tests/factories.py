"""Small makers of boxes and masks that several tests need."""

import math

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste_rules import InclusivePaste, PasteRule
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


def random_boxes(num_boxes: int, image_wh: tuple[int, int] = (120, 90), seed: int = 0) -> Tensor:
    """(K, 4) xyxy boxes inside the image, at least 1 px wide and high (inclusive)."""
    generator = torch.Generator().manual_seed(seed)
    last = torch.tensor(image_wh) - 1
    corners = torch.rand(num_boxes, 2, 2, generator=generator) * last
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def random_boxlist(
    num_boxes: int,
    image_wh: tuple[int, int] = (120, 90),
    seed: int = 0,
    num_foreground: int = 3,
) -> BoxList:
    """``random_boxes`` with random fields labels (1..num_foreground) and scores."""
    generator = torch.Generator().manual_seed(seed + 1)
    boxes = BoxList(random_boxes(num_boxes, image_wh, seed), image_wh)
    labels = torch.randint(1, num_foreground + 1, (num_boxes,), generator=generator)
    boxes.add_field("labels", labels)
    boxes.add_field("scores", torch.rand(num_boxes, generator=generator))
    return boxes


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    """Flat polygon of a rectangle, given by its edges."""
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def ellipse(box: Tensor, num_points: int = 24) -> list[float]:
    """Flat polygon of the ellipse that touches the sides of a box (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = box.tolist()
    angles = [2 * math.pi * i / num_points for i in range(num_points)]
    points = [
        (
            (x1 + x2 + (x2 - x1) * math.cos(angle)) / 2,
            (y1 + y2 + (y2 - y1) * math.sin(angle)) / 2,
        )
        for angle in angles
    ]
    return [coordinate for point in points for coordinate in point]


def elliptic_masks(boxes: BoxList) -> SegmentationMask:
    """One ellipse in each box, as polygons."""
    return SegmentationMask([[ellipse(box)] for box in boxes.convert("xyxy").bbox], boxes.size)


def target_with_masks(
    num_boxes: int, image_wh: tuple[int, int] = (120, 90), seed: int = 0, num_foreground: int = 3
) -> BoxList:
    """A training target: random boxes with the fields labels and masks (ellipses)."""
    boxes = random_boxlist(num_boxes, image_wh, seed, num_foreground).copy_with_fields("labels")
    boxes.add_field("masks", elliptic_masks(boxes))
    return boxes


def masks_in(boxes: BoxList, masks: Tensor, threshold: float = 0.5, padding: int = 1) -> BoxMasks:
    """Masks (K, 1, M, M) in the boxes, pasted by the original's rule."""
    rule = PasteRule(InclusivePaste(threshold, padding))
    return BoxMasks(masks, boxes.convert("xyxy").bbox, boxes.size, rule)


def blob_probabilities(num_masks: int, side: int = 28, seed: int = 0) -> Tensor:
    """(N, 1, M, M) mask probabilities: a soft disc each, with noise, some cut by the border."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, side)
    center = torch.rand(num_masks, 2, 1, 1, generator=generator) - 0.5
    radius = 0.4 + 0.6 * torch.rand(num_masks, 1, 1, generator=generator)
    distance = torch.hypot(axis[None, :, None] - center[:, 1], axis[None, None] - center[:, 0])
    noise = torch.randn(num_masks, side, side, generator=generator)
    return torch.sigmoid(8 * (radius - distance) + noise)[:, None]
