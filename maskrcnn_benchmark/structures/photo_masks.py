"""Ground-truth masks that keep their photo's own pixels, whatever becomes of the photo.

Shapes: K instances, n side of what is read; H, W height and width of the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.indexing import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    InstanceIndex,
    check_flip,
)
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class PhotoMasks:
    """Masks of a photo of which an image shows a resized part; they are resized as they are read.

    No method changes the masks. As the field "masks" they follow their ``BoxList``.

    Args:
        masks: of the photo.
        size: (w, h) of the image.
        scale: (x, y) px of the image for each of the photo's.
        offset: (x, y) px that the image's first pixel lies at in the whole resized photo.
    """

    masks: SegmentationMask
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, masks: SegmentationMask | PhotoMasks) -> PhotoMasks:
        """Masks that are these already, or masks whose photo is the image itself."""
        if isinstance(masks, PhotoMasks):
            return masks
        width, height = (int(side) for side in masks.size)
        return cls(masks, (width, height))

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, item: InstanceIndex) -> PhotoMasks:
        return replace(self, masks=self.masks[item])

    def resize(self, size: tuple[int, int]) -> PhotoMasks:
        """The masks in the image resized to ``size`` (w, h)."""
        ratios = [new / old for new, old in zip(size, self.size, strict=True)]
        x, y = (s * r for s, r in zip(self.scale, ratios, strict=True))
        left, top = (o * r for o, r in zip(self.offset, ratios, strict=True))
        return replace(self, size=size, scale=(x, y), offset=(left, top))

    def crop(self, box: Sequence[float]) -> PhotoMasks:
        """The masks in the image cut to ``box`` (xyxy), of the size (x2 - x1, y2 - y1)."""
        left, top, right, bottom = (float(value) for value in box)
        offset = (self.offset[0] + left, self.offset[1] + top)
        return replace(self, size=(int(right - left), int(bottom - top)), offset=offset)

    def transpose(self, method: int) -> PhotoMasks:
        """The masks in the flipped image; see ``BoxList.transpose``."""
        check_flip(method)
        flipped = replace(self, masks=self.masks.transpose(method))
        if method == FLIP_DIAGONAL:
            swapped = (self.size[::-1], self.scale[::-1], self.offset[::-1])
            return replace(flipped, size=swapped[0], scale=swapped[1], offset=swapped[2])
        axis = 0 if method == FLIP_LEFT_RIGHT else 1
        # px of the whole resized photo that the image leaves out on the other side.
        offset = list(self.offset)
        offset[axis] = self.scale[axis] * self.masks.size[axis] - self.size[axis] - offset[axis]
        return replace(flipped, offset=(offset[0], offset[1]))

    def convert(self, mode: str) -> PhotoMasks:
        """The same masks kept as polygons ("poly") or bitmaps ("mask")."""
        return replace(self, masks=self.masks.convert(mode))  # type: ignore[arg-type]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PhotoMasks:
        """The masks on a device, as ``SegmentationMask``'s."""
        return replace(self, masks=self.masks.to(device, non_blocking))

    def to_bitmasks(self) -> Tensor:
        """(K, h, w) bool masks of the image, resized as ``SegmentationMask``'s."""
        lengths = [round(s * side) for s, side in zip(self.scale, self.masks.size, strict=True)]
        (left, top), (width, height) = self.offset, self.size
        whole = self.masks.resize((max(lengths[0], 1), max(lengths[1], 1)))
        return whole.crop((left, top, left + width, top + height)).to_bitmasks()

    def read(self, boxes: Tensor, side: int) -> Tensor:
        """(K, n, n) bool: each mask at n places along each side of its box, ends included.

        Bilinear, nothing outside the photo, from one half on.

        Args:
            boxes: (K, 4) xyxy px of the image.
            side: n, at least 2.
        """
        bitmaps = self.masks.to_bitmasks().to(boxes.device)
        height, width = bitmaps.shape[1:]
        offset, scale = (boxes.new_tensor(each).repeat(2) for each in (self.offset, self.scale))
        sides = boxes.new_tensor([width, height]).repeat(2)
        # UPSTREAM(corner-aligned-targets): places are counted on a photo of W - 1 pixels.
        corners = (boxes + offset) / scale / sides
        steps = torch.arange(side, device=boxes.device, dtype=boxes.dtype)
        places = []
        for axis, length in enumerate((width, height)):
            first, last = corners[:, axis, None], corners[:, axis + 2, None]
            pitch = (last - first) * (length - 1) / (side - 1)
            places.append(first * (length - 1) + steps * pitch)
        return _read(bitmaps, *places) >= _THRESHOLD


def _read(bitmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(K, n, n) of bitmaps (K, H, W) at columns x and rows y (K, n); 0 outside."""
    height, width = bitmaps.shape[1:]
    (x0, x1, fx, x_inside), (y0, y1, fy, y_inside) = (
        _neighbours(places, length) for places, length in ((x, width), (y, height))
    )
    number = torch.arange(len(bitmaps), device=x.device)[:, None, None]

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        return bitmaps[number, rows[..., None], columns[:, None]].to(x.dtype)

    upper = at(y0, x0) + (at(y0, x1) - at(y0, x0)) * fx[:, None]
    lower = at(y1, x0) + (at(y1, x1) - at(y1, x0)) * fx[:, None]
    values = upper + (lower - upper) * fy[..., None]
    return values * (y_inside[..., None] & x_inside[:, None])


def _neighbours(places: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cells before and after places (K, n) of a row, how far they lie between, and in it."""
    is_inside = (places >= 0) & (places <= length - 1)
    clipped = torch.where(is_inside, places, 0)
    first = clipped.floor()
    last = clipped.ceil()
    return first.long(), last.long(), clipped - first, is_inside
