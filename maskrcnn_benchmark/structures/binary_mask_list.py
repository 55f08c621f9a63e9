"""Instances as bitmaps.

Shapes: K instances; H, W height and width of their image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import FLIP_DIAGONAL, FLIP_LEFT_RIGHT
from maskrcnn_benchmark.structures.indexing import InstanceIndex, as_index

RESIZE_THRESHOLD = 0.5


class BinaryMaskList:
    """Instances of one image as bitmaps.

    No method changes a BinaryMaskList; tensors may be shared, so treat them as read-only.

    Args:
        masks: (K, H, W) tensor; all but 0 is the instance.
        size: (w, h) of the image.

    Attributes:
        masks: (K, H, W) bool.
        size: as given.

    Raises:
        ValueError: a shape other than (K, H, W) for the size.
    """

    def __init__(self, masks: Tensor, size: tuple[int, int]) -> None:
        width, height = size
        if masks.ndim != 3 or masks.shape[1:] != (height, width):
            raise ValueError(
                f"masks of the size (w, h) = {size} must have the shape (K, {height}, {width}), "
                f"not {tuple(masks.shape)}"
            )
        self.masks = masks.to(torch.bool)
        self.size = size

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, item: InstanceIndex) -> BinaryMaskList:
        index = as_index(item, len(self), self.masks.device)
        return BinaryMaskList(self.masks[index], self.size)

    def __repr__(self) -> str:
        return f"BinaryMaskList(num_instances={len(self)}, size={self.size})"

    def resize(self, size: tuple[int, int]) -> BinaryMaskList:
        """The instances in the image resized to ``size`` (w, h), bilinear, rounded half up."""
        width, height = size
        resized = self.masks.new_zeros((len(self), height, width))
        # One at a time: a float copy of all would be four times the masks.
        for target, mask in zip(resized, self.masks, strict=True):
            smooth = F.interpolate(
                mask[None, None].float(), (height, width), mode="bilinear", align_corners=False
            )
            # UPSTREAM(bitmap-resize): segmentation_mask.py truncated to integers, so that every
            # resize took the soft edge off the masks.
            target.copy_(smooth[0, 0] >= RESIZE_THRESHOLD)
        return BinaryMaskList(resized, size)

    def crop(self, box: Sequence[float]) -> BinaryMaskList:
        """The instances in the image cut to ``box`` (xyxy, rounded); what is outside it is 0.

        The new size is (x2 - x1, y2 - y1), each at least 1.
        """
        left, top, right, bottom = (round(float(value)) for value in box)
        width, height = max(right - left, 1), max(bottom - top, 1)
        image_width, image_height = self.size
        padding = (-left, left + width - image_width, -top, top + height - image_height)
        return BinaryMaskList(F.pad(self.masks, padding), (width, height))

    def transpose(self, method: int) -> BinaryMaskList:
        """The instances in the image flipped by ``FLIP_*``."""
        if method == FLIP_DIAGONAL:
            width, height = self.size
            return BinaryMaskList(self.masks.transpose(1, 2), (height, width))
        dimension = 2 if method == FLIP_LEFT_RIGHT else 1
        return BinaryMaskList(self.masks.flip(dimension), self.size)

    def to_bitmasks(self) -> Tensor:
        """(K, H, W) bool masks."""
        return self.masks

    def to_polygons(self) -> list[list[NDArray[np.float64]]]:
        """For each instance its outer contours as flat polygons; see ``mask_to_polygons``."""
        return [mask_to_polygons(mask) for mask in self.masks.cpu().numpy()]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> BinaryMaskList:
        """The instances on a device."""
        return BinaryMaskList(self.masks.to(device, non_blocking=non_blocking), self.size)


def mask_to_polygons(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Flat polygons (x1, y1, x2, y2, ...) that rasterise to the mask, its holes filled.

    Args:
        mask: (H, W) bool.
    """
    # Contours run through pixel centres. At double size those of a pixel's outer quarters lie
    # apart, so that even one pixel has an area, and all pixel centres are well inside.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour.reshape(-1).astype(np.float64) + 0.5) / 2 for contour in contours]


def decode_rle(rle: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool mask of a COCO RLE.

    Args:
        rle: ``{"size": [H, W], "counts": ...}`` with a list of run lengths (uncompressed), or a
            str or bytes (compressed).
        size: (w, h) of the image.

    Raises:
        ValueError: a size other than the image's, or runs that do not fill it.
    """
    width, height = size
    if list(rle["size"]) != [height, width]:
        raise ValueError(
            f"an RLE of the size [H, W] = {list(rle['size'])} in an image of {[height, width]}"
        )
    counts = rle["counts"]
    compressed: Any = {"size": [height, width], "counts": counts}
    if not isinstance(counts, str | bytes):
        if sum(counts) != height * width:
            raise ValueError(f"run lengths sum to {sum(counts)}, not to {height} * {width} pixels")
        compressed = mask_utils.frPyObjects(compressed, height, width)
    mask: NDArray[np.uint8] = np.ascontiguousarray(mask_utils.decode(compressed))
    return mask.view(np.bool_)


def stack_masks(masks: Iterable[NDArray[np.bool_]], size: tuple[int, int]) -> Tensor:
    """(K, H, W) bool tensor of K (H, W) masks, K may be 0; ``size`` is (w, h)."""
    width, height = size
    stacked = list(masks)
    if not stacked:
        return torch.zeros((0, height, width), dtype=torch.bool)
    return torch.from_numpy(np.stack(stacked))
