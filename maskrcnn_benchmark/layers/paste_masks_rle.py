"""Predicted masks of boxes as run lengths of the image.

Shape symbols: N masks, M their side; H, W height and width of the image.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import (
    as_pair,
    check_has_values,
    check_shape,
    check_tensors,
)
from maskrcnn_benchmark.layers.mask_resize import MASK_PADDING, MASK_THRESHOLD, check_finite


def _check(masks: Tensor, boxes: Tensor, threshold: float, padding: int) -> None:
    check_tensors(masks=masks)
    check_tensors(boxes=boxes)
    check_has_values(masks=masks, boxes=boxes)
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks: expected shape (N, M, M), got {tuple(masks.shape)}")
    check_shape("boxes", boxes, (len(masks), 4))
    check_finite(boxes)
    if not threshold >= 0:
        raise ValueError(f"threshold: expected at least 0, got {threshold}")
    if padding < 0:
        raise ValueError(f"padding: expected at least 0, got {padding}")


def paste_masks_rle(
    masks: Tensor,
    boxes: Tensor,
    image_hw: tuple[int, int],
    threshold: float = MASK_THRESHOLD,
    padding: int = MASK_PADDING,
) -> list[dict[str, Any]]:
    """One COCO compressed RLE a mask, ``{"size": [H, W], "counts": str}``, in their order.

    Equal, character by character, to pasting each mask into an image of zeros and encoding that
    with pycocotools; but work and memory are proportional to the visible parts of the boxes.
    Pasting: pad with zeros, grow the box about its centre in proportion, round its corners towards
    zero, resize bilinearly to the inclusive size (at least 1 px a side; corners not aligned), set
    what is above the threshold, clip to the image. Computed in float32 on the CPU.

    Args:
        masks: (N, M, M) probabilities. NaN is not above the threshold.
        boxes: (N, 4) px of the image, xyxy inclusive; may leave the image.
        image_hw: (H, W); fewer than 2^32 pixels.
        threshold: pixels above it are 1; at least 0.
        padding: zeros put around the mask, so that it can fade out.

    Raises:
        ValueError: wrong shapes, boxes that are not finite, a negative threshold or padding.
        RuntimeError: a size or padding out of range (ValueError without compiled operators).

    Source: Mask R-CNN (He et al. 2017), section 3.1; the format is that of COCO's mask API.
    """
    _check(masks, boxes, threshold, padding)
    height, width = as_pair(image_hw, "image_hw")
    characters, offsets = torch.ops.centermask.paste_masks_rle(
        masks.detach().cpu().float(),
        boxes.detach().cpu().float(),
        height,
        width,
        float(threshold),
        padding,
    )
    text, bounds = characters.numpy().tobytes().decode("ascii"), offsets.tolist()
    return [{"size": [height, width], "counts": text[begin:end]} for begin, end in pairwise(bounds)]
