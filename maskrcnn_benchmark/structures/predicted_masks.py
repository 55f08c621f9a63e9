"""Predicted masks of the instances of one image: what the field ``mask`` of detections holds.

A full-image plane a mask is what makes pasting slow and large. Nothing here is larger than the
visible part of one box, except ``planes``, whose result is the stack itself, and ``ImageMasks``.

Shapes: K instances, M side of a mask; H, W height and width of the image, h, w of another grid.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskrcnn_benchmark.layers.mask_resize import MASK_THRESHOLD
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.indexing import (
    FLIP_DIAGONAL,
    FLIP_LEFT_RIGHT,
    InstanceIndex,
    as_index,
)
from maskrcnn_benchmark.structures.paste_rules import (
    LEGACY_PASTE,
    OWN_RULES,
    RLE,
    PastedMask,
    PasteRule,
    SizeWH,
    encode_crops,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class PredictedMasks(ABC):
    """One predicted mask for each of K instances, whatever the mask is made of.

    A kind of mask is a subclass with the abstract methods; it may do better in the others. No
    method changes the masks; tensors may be shared between two of them.

    Attributes:
        size: (w, h) of the image that the masks lie in.
    """

    size: SizeWH

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, item: InstanceIndex) -> Self: ...

    @abstractmethod
    def cat(self, others: Sequence[Self]) -> Self:
        """These masks and those of the others, of the same image, in order."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The masks on a device."""

    @abstractmethod
    def resize(self, size: SizeWH) -> Self:
        """The masks in the image resized to ``size`` (w, h)."""

    @abstractmethod
    def crops(self) -> Iterator[PastedMask]:
        """Every mask in turn, as the part of the image that holds it."""

    def encode(self) -> list[RLE]:
        """The K masks as RLEs of the image.

        Equal to pycocotools' encoding of ``planes``, which are never made.
        """
        return encode_crops(self.crops(), self.size)

    def planes(self) -> Tensor:
        """(K, H, W) uint8 masks of the whole image, on the CPU."""
        width, height = self.size
        planes = torch.zeros((len(self), height, width), dtype=torch.uint8)
        for plane, (x0, y0, mask) in zip(planes.numpy(), self.crops(), strict=True):
            plane[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]] = mask
        return planes

    def crop(self, box: Sequence[float]) -> PredictedMasks:
        """The masks as ``ImageMasks`` of the image cut to ``box``, whose size is BoxList's."""
        left, top, right, bottom = (float(value) for value in box)
        width, height = int(right - left), int(bottom - top)
        x0, y0 = round(left), round(top)
        padding = (-x0, x0 + width - self.size[0], -y0, y0 + height - self.size[1])
        return ImageMasks(F.pad(self.planes(), padding), (width, height))

    def transpose(self, method: int) -> PredictedMasks:
        """The masks as ``ImageMasks`` of the image flipped by ``FLIP_*``."""
        if method == FLIP_DIAGONAL:
            return ImageMasks(self.planes().transpose(1, 2).contiguous(), self.size[::-1])
        return ImageMasks(self.planes().flip(2 if method == FLIP_LEFT_RIGHT else 1), self.size)

    def as_field(self) -> Tensor | PredictedMasks:
        """What ``get_field("mask")`` gives: a tensor that ``add_field`` takes for these masks.

        The masks themselves where no tensor alone says what they are.
        """
        return self


@dataclass(frozen=True, eq=False)
class BoxMasks(PredictedMasks):
    """Masks of M x M probabilities, each in a box of its own.

    Args:
        masks: (K, 1, M, M); of mixed sizes, K of (1, M, M).
        boxes: (K, 4) px of the image, xyxy, where each mask lies: the detection's box, a wider one,
            an anchor; may leave the image. Inclusive or half-open, as ``rule`` takes them.
        size: (w, h) of the image.
        rule: how they are pasted.
        in_detections: the boxes are the detections' own: under the rule that ``OWN_RULES`` has for
            them the bare tensor says it all.

    Raises:
        ValueError: masks of other shapes, or another number of boxes.
    """

    masks: Tensor | tuple[Tensor, ...]
    boxes: Tensor
    size: SizeWH
    rule: PasteRule = LEGACY_PASTE
    in_detections: bool = False

    def __post_init__(self) -> None:
        masks, count = self.masks, len(self.masks)
        shapes = {masks.shape[1:]} if isinstance(masks, Tensor) else {one.shape for one in masks}
        if any(shape != (1, *shape[-1:] * 2) for shape in shapes):
            raise ValueError(f"masks must be (K, 1, M, M) or K of (1, M, M), not {shapes}")
        if self.boxes.shape != (count, 4):
            raise ValueError(f"boxes must be ({count}, 4), not {tuple(self.boxes.shape)}")

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, item: InstanceIndex) -> BoxMasks:
        index = as_index(item, len(self), self.boxes.device)
        if isinstance(self.masks, Tensor):
            return replace(self, masks=self.masks[index], boxes=self.boxes[index])
        kept = torch.arange(len(self), device=self.boxes.device)[index].tolist()
        return replace(self, masks=tuple(self.masks[k] for k in kept), boxes=self.boxes[index])

    def cat(self, others: Sequence[BoxMasks]) -> BoxMasks:
        """See ``PredictedMasks``; masks of several sizes are a tuple.

        Raises:
            ValueError: another rule.
        """
        parts = [self, *others]
        rules = {part.rule for part in parts}
        if len(rules) > 1:
            raise ValueError(f"masks with different rules cannot be joined: {rules}")
        stacks = [part.masks for part in parts if isinstance(part.masks, Tensor)]
        masks: Tensor | tuple[Tensor, ...]
        if len(stacks) == len(parts) and len({stack.shape[1:] for stack in stacks}) == 1:
            masks = torch.cat(stacks)
        else:
            masks = tuple(mask for part in parts for mask in part.masks)
        boxes = torch.cat([part.boxes for part in parts])
        in_detections = all(part.in_detections for part in parts)
        return replace(self, masks=masks, boxes=boxes, in_detections=in_detections)

    def to(self, device: torch.device | str) -> BoxMasks:
        """See ``PredictedMasks``."""
        masks, boxes = self.masks, self.boxes.to(device)
        if isinstance(masks, Tensor):
            return replace(self, masks=masks.to(device), boxes=boxes)
        return replace(self, masks=tuple(mask.to(device) for mask in masks), boxes=boxes)

    def resize(self, size: SizeWH) -> BoxMasks:
        """See ``PredictedMasks``; the boxes are scaled as a ``BoxList``'s."""
        ratio_w, ratio_h = (new / old for new, old in zip(size, self.size, strict=True))
        scale = self.boxes.new_tensor([ratio_w, ratio_h, ratio_w, ratio_h])
        return replace(self, boxes=self.boxes * scale, size=size)

    def crops(self) -> Iterator[PastedMask]:
        """See ``PredictedMasks`` and ``rule``."""
        for masks, boxes in self._stacks():
            yield from self.rule.paste(masks, boxes, self.size)

    def encode(self) -> list[RLE]:
        """See ``PredictedMasks`` and ``rule``."""
        return [rle for part in self._stacks() for rle in self.rule.encode(*part, self.size)]

    def as_field(self) -> Tensor | PredictedMasks:
        """See ``PredictedMasks``: (K, 1, M, M), if it says it all."""
        says_all = self.in_detections and self.rule in OWN_RULES.values()
        return self.masks if says_all and isinstance(self.masks, Tensor) else self

    def _stacks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Masks of one size (N, M, M) with their boxes (N, 4), in order."""
        if isinstance(self.masks, Tensor):
            yield self.masks[:, 0], self.boxes
        else:
            yield from zip(self.masks, self.boxes[:, None], strict=True)


@dataclass(frozen=True, eq=False)
class ImageMasks(PredictedMasks):
    """Masks of the whole image.

    Args:
        maps: (K, H, W) uint8 or bool of the image's size; or (K, h, w) floating probabilities on
            any grid that covers the image, resized to it (bilinear) where pixels are asked for.
        size: (w, h) of the image.

    Raises:
        ValueError: maps of another shape.
    """

    maps: Tensor
    size: SizeWH

    def __post_init__(self) -> None:
        is_grid = self.maps.ndim == 3 and self.maps.is_floating_point()
        if not is_grid and self.maps.shape[1:] != self.size[::-1]:
            raise ValueError(
                f"masks of an image (w, h) = {self.size} must be (K, {self.size[1]}, "
                f"{self.size[0]}), or floating (K, h, w), not {self.maps.dtype} "
                f"{tuple(self.maps.shape)}"
            )

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, item: InstanceIndex) -> ImageMasks:
        return replace(self, maps=self.maps[as_index(item, len(self), self.maps.device)])

    def cat(self, others: Sequence[ImageMasks]) -> ImageMasks:
        """See ``PredictedMasks``; maps must have one shape and type."""
        return replace(self, maps=torch.cat([self.maps, *(other.maps for other in others)]))

    def to(self, device: torch.device | str) -> ImageMasks:
        """See ``PredictedMasks``."""
        return replace(self, maps=self.maps.to(device))

    def resize(self, size: SizeWH) -> ImageMasks:
        """See ``PredictedMasks``; bitmaps are resized (bilinear) and thresholded anew."""
        if self.maps.is_floating_point() or size == self.size:
            return replace(self, size=size)
        resized = self.maps.new_zeros((len(self), size[1], size[0]))
        # One at a time: float planes of all masks would be large.
        for target, one in zip(resized, self.maps, strict=True):
            target.copy_(_bitmap(one, size))
        return ImageMasks(resized, size)

    def crops(self) -> Iterator[PastedMask]:
        """See ``PredictedMasks``; the smallest part that holds the mask."""
        for one in self.maps:
            pixels = _bitmap(one, self.size).cpu().numpy()
            rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
            if rows.size:
                y0, x0 = int(rows[0]), int(columns[0])
                inside = pixels[y0 : rows[-1] + 1, x0 : columns[-1] + 1]
            else:
                y0, x0, inside = 0, 0, pixels[:0, :0]
            yield PastedMask(x0, y0, inside.view(np.uint8))

    def as_field(self) -> Tensor | PredictedMasks:
        """See ``PredictedMasks``: (K, 1, H, W) bitmaps."""
        return self if self.maps.is_floating_point() else self.maps[:, None]


def _bitmap(one: Tensor, size: SizeWH) -> Tensor:
    """(H, W) bool: what of a map (h, w) is above the threshold, resized to ``size`` (w, h)."""
    if one.shape == size[::-1]:
        return one.detach() > MASK_THRESHOLD
    smooth = F.interpolate(one.detach()[None, None].float(), size[::-1], mode="bilinear")
    return smooth[0, 0] > MASK_THRESHOLD


def masks_of_tensor(
    tensor: object, boxes: Tensor, size: SizeWH, pixel_offset: int = LEGACY_PIXEL_OFFSET
) -> PredictedMasks:
    """The predicted masks that a script means by a tensor, as ``add_field("mask", …)`` takes it.

    Floating (K, 1, M, M) are probabilities inside the detections' boxes, pasted by the rule that
    ``OWN_RULES`` has for such boxes; uint8 or bool (K, 1, H, W) of the image's size are masks of
    the whole image.

    Args:
        tensor: the field's data.
        boxes: (K, 4) the detections' boxes, px of the image, xyxy.
        size: (w, h) of the image.
        pixel_offset: of the boxes.

    Raises:
        ValueError: anything else.
    """
    if isinstance(tensor, Tensor) and tensor.ndim == 4 and tensor.shape[1] == 1:
        if tensor.is_floating_point() and tensor.shape[2] == tensor.shape[3]:
            return BoxMasks(tensor, boxes, size, OWN_RULES[pixel_offset], in_detections=True)
        if tensor.dtype in (torch.uint8, torch.bool) and tensor.shape[2:] == size[::-1]:
            return ImageMasks(tensor[:, 0], size)
    came = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor)
    raise ValueError(
        "the field 'mask' must be PredictedMasks, a floating (K, 1, M, M) tensor of probabilities "
        f"inside the boxes, or a uint8 or bool (K, 1, {size[1]}, {size[0]}) tensor of masks of the "
        f"image, not {came}"
    )
