"""How a mask inside a box becomes pixels of the image.

Shapes: N masks, M side of a mask; h, w of a part of the image.
Source: Mask R-CNN (He et al. 2017), section 3.1 (masks are resized to the box and thresholded).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import Tensor

from centermask_runtime.masks import (
    RLE,
    ArrayPasteRule,
    InclusivePaste,
    PastedMask,
    SizeWH,
    SubPixelPaste,
    encode_crops,
)
from maskrcnn_benchmark.layers.mask_resize import as_array
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


@dataclass(frozen=True)
class PasteRule:
    """How a mask becomes pixels of its box, for tensors.

    Args:
        rule: the same for arrays: ``InclusivePaste``, ``SubPixelPaste`` or another one.
    """

    rule: ArrayPasteRule

    def paste(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> Iterator[PastedMask]:
        """Each of the masks (N, M, M) in turn, pasted into its box of (N, 4) xyxy px.

        Raises:
            ValueError: a box that is not finite.
        """
        yield from self.rule.paste(as_array(masks), as_array(boxes), size)

    def encode(self, masks: Tensor, boxes: Tensor, size: SizeWH) -> list[RLE]:
        """The N RLEs of what ``paste`` gives; a threshold below 0 is refused."""
        if isinstance(self.rule, InclusivePaste):
            # There is an operator for it.
            return paste_masks_rle(masks, boxes, size[::-1], self.rule.threshold, self.rule.padding)
        return self.rule.encode(as_array(masks), as_array(boxes), size)


LEGACY_PASTE: Final = PasteRule(InclusivePaste())
SUB_PIXEL_PASTE: Final = PasteRule(SubPixelPaste())
OWN_RULES: Final[Mapping[int, PasteRule]] = MappingProxyType(
    {LEGACY_PIXEL_OFFSET: LEGACY_PASTE, 0: SUB_PIXEL_PASTE}
)
"""``pixel_offset`` of boxes -> how masks inside them are pasted unless they say otherwise."""
