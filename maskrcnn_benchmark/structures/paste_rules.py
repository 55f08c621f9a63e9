"""How a mask inside a box becomes pixels of the image.

Shapes: N masks, M side of a mask; h, w of a part of the image.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import Tensor

from centermask_runtime import masks as array_masks
from centermask_runtime.masks import RLE, PastedMask, SizeWH, encode_crops
from maskrcnn_benchmark.layers.mask_resize import MASK_PADDING, MASK_THRESHOLD, as_array
from maskrcnn_benchmark.layers.paste_masks_rle import paste_masks_rle
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET

__all__ = [
    "LEGACY_PASTE",
    "OWN_RULES",
    "RLE",
    "SUB_PIXEL_PASTE",
    "InclusivePaste",
    "PasteRule",
    "PastedMask",
    "SizeWH",
    "SubPixelPaste",
    "encode_crops",
]


class PasteRule(ABC):
    """How a mask becomes pixels of its box."""

    @abstractmethod
    def paste(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> Iterator[PastedMask]:
        """Each of the masks (N, M, M) in turn, pasted into its box of (N, 4) xyxy px.

        Raises:
            ValueError: a box that is not finite.
        """

    def encode(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> list[RLE]:
        """The N RLEs of what ``paste`` gives."""
        return encode_crops(self.paste(masks, boxes, size), size)


@dataclass(frozen=True)
class InclusivePaste(PasteRule):
    """The original's rule: a mask is resized to its box in whole pixels, both ends counted.

    Args:
        threshold: pixels above it are 1; below 0 there is none, and pixels are probabilities
            times 255, rounded down, for viewing.
        padding: zeros put around the mask, so that it can fade out; the box grows in proportion.
    """

    threshold: float = MASK_THRESHOLD
    padding: int = MASK_PADDING

    def paste(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> Iterator[PastedMask]:
        """See ``PasteRule``; boxes are inclusive."""
        rule = array_masks.InclusivePaste(self.threshold, self.padding)
        yield from rule.paste(as_array(masks), as_array(boxes), size)

    def encode(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> list[RLE]:
        """See ``PasteRule``; a threshold below 0 is refused."""
        return paste_masks_rle(masks, boxes, size[::-1], self.threshold, self.padding)


@dataclass(frozen=True)
class SubPixelPaste(PasteRule):
    """Pixels read the mask where their centres lie in its box; nothing is rounded or padded.

    The rule of detectron2 and TensorMask (Chen et al. 2019): boxes are half-open, of the width
    x2 - x1, and the pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).

    Args:
        threshold: pixels of at least this are 1; below 0 as for ``InclusivePaste``.
    """

    threshold: float = MASK_THRESHOLD

    def paste(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> Iterator[PastedMask]:
        """See ``PasteRule``; boxes are half-open, and those without extent stay empty."""
        rule = array_masks.SubPixelPaste(self.threshold)
        yield from rule.paste(as_array(masks), as_array(boxes), size)


LEGACY_PASTE: Final = InclusivePaste()
SUB_PIXEL_PASTE: Final = SubPixelPaste()
OWN_RULES: Final[Mapping[int, PasteRule]] = MappingProxyType(
    {LEGACY_PIXEL_OFFSET: LEGACY_PASTE, 0: SUB_PIXEL_PASTE}
)
"""``pixel_offset`` of boxes -> how masks inside them are pasted unless they say otherwise."""
