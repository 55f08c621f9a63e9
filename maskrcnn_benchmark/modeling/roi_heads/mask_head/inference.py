"""From mask logits to instance masks."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.config.convention import PasteName
from maskrcnn_benchmark.layers.mask_resize import MASK_PADDING, MASK_THRESHOLD
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.paste_rules import (
    LEGACY_PASTE,
    InclusivePaste,
    PasteRule,
    SubPixelPaste,
)
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks

PASTES: Final[Mapping[PasteName, PasteRule | None]] = MappingProxyType(
    {"own": None, "inclusive": LEGACY_PASTE}
)
"""Names of conventions -> rules; None: what boxes have by themselves."""


def attach_masks(
    detections: Sequence[BoxList],
    class_logits: Tensor,
    masker: "Masker | None" = None,
    paste: PasteRule | None = None,
) -> list[BoxList]:
    """The detections with the field ``mask``: probabilities of their own class, inside the boxes.

    Args:
        detections: one BoxList an image.
        class_logits: (R, M, M), of its own class, of all detections of all images in their order.
        masker: makes masks of the whole resized image of them, or None.
        paste: how the masks are pasted otherwise than boxes of their kind have it, or None.
    """
    sizes = [len(boxes) for boxes in detections]
    probs = torch.split(class_logits.sigmoid()[:, None], sizes)
    masks: Sequence[Tensor | BoxMasks] = masker(probs, detections) if masker else probs
    if paste and not masker:
        masks = [
            BoxMasks(each, boxes.convert("xyxy").bbox, boxes.size, paste)
            for boxes, each in zip(detections, probs, strict=True)
        ]
    return [
        boxes.with_field("mask", each.to(boxes.bbox.device))
        for boxes, each in zip(detections, masks, strict=True)
    ]


class Masker:
    """Pastes masks of boxes into images.

    Whole images of masks cost N x H x W bytes: evaluation and drawing paste inside the boxes
    instead (``PredictedMasks``). This class is for scripts that want the full maps.

    Args:
        threshold: probability above which a pixel belongs to the instance; below 0 pixels are the
            probabilities themselves, times 255, for viewing.
        padding: px added around the M x M map before it is resized, by the inclusive rule.
        paste: name of the rule, as in ``PASTES``.
        clips: masks are squeezed into what the image has of their boxes, as ``clip_detections``
            has it.
    """

    def __init__(
        self,
        threshold: float = MASK_THRESHOLD,
        padding: int = MASK_PADDING,
        *,
        paste: PasteName = "own",
        clips: bool = False,
    ) -> None:
        self.threshold = threshold
        self.padding = padding
        self.paste = paste
        self.clips = clips

    def __call__(
        self, masks: Tensor | Sequence[Tensor], boxes: BoxList | Sequence[BoxList]
    ) -> list[Tensor]:
        """Masks (K, 1, H, W) uint8 of each image.

        Args:
            masks: (K, 1, M, M) probabilities of each image.
            boxes: the boxes they belong to, px of the image to paste into.

        Raises:
            ValueError: if the numbers of images, or of masks and boxes, differ.
        """
        boxlists = [boxes] if isinstance(boxes, BoxList) else list(boxes)
        per_image = [masks] if isinstance(masks, Tensor) else list(masks)
        if len(boxlists) != len(per_image):
            raise ValueError(f"masks of {len(per_image)} images for boxes of {len(boxlists)}")
        return [self._planes(*image) for image in zip(per_image, boxlists, strict=True)]

    def _planes(self, probs: Tensor, boxes: BoxList) -> Tensor:
        if self.clips:
            boxes = boxes.clip_to_image(remove_empty=False)
        is_inclusive = self.paste == "inclusive" or boxes.pixel_offset == LEGACY_PIXEL_OFFSET
        rule = PasteRule(SubPixelPaste(self.threshold))
        if is_inclusive:
            rule = PasteRule(InclusivePaste(self.threshold, self.padding))
        return BoxMasks(probs, boxes.convert("xyxy").bbox, boxes.size, rule).planes()[:, None]
