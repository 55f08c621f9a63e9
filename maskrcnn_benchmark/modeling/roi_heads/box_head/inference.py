"""From the box head's outputs to detections (Fast R-CNN, arXiv 1504.08083, section 2.2).

Shapes: R rois of all images, K of one image, C classes with background, B sets of box offsets: C,
or 2 where all foreground classes share the last one, N candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.postprocessing import keep_best, sort_by_score
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_ml_nms, remove_small_boxes


@dataclass(frozen=True, slots=True)
class BoxSelectionSettings:
    """Thresholds of the selection.

    Args:
        score_threshold: a candidate's class probability must exceed it.
        nms_threshold: of two boxes of one class with a higher IoU the worse one goes.
        detections_per_image: best boxes kept in an image; 0 keeps all. Ties at the cut-off are
            kept.
        min_side: boxes with a shorter side go before the suppression, px.
        best_first: boxes come by descending score, else as the suppression leaves them.
    """

    score_threshold: float
    nms_threshold: float
    detections_per_image: int
    min_side: float = 0.0
    best_first: bool = False


class BoxPostProcessor:
    """Selects the best boxes of every image.

    Args:
        settings: thresholds.
        box_coder: decodes offsets relative to proposals.
    """

    def __init__(self, *, settings: BoxSelectionSettings, box_coder: BoxCoder) -> None:
        self.settings = settings
        self.box_coder = box_coder

    @torch.no_grad()
    def __call__(
        self, class_logits: Tensor, box_regression: Tensor, proposals: Sequence[BoxList]
    ) -> list[BoxList]:
        """One BoxList an image with ``labels`` and ``scores`` (class probability).

        Boxes are xyxy, px of the resized image, clipped to it, class by class in the order of
        their proposals.

        Args:
            class_logits: (R, C).
            box_regression: (R, 4 * B) offsets.
            proposals: one BoxList an image, R boxes in all.
        """
        sizes = [len(boxes) for boxes in proposals]
        probs_per_image = torch.split(class_logits.softmax(dim=1), sizes)
        codes_per_image = torch.split(box_regression, sizes)
        return [
            self._select(*image)
            for image in zip(probs_per_image, codes_per_image, proposals, strict=True)
        ]

    def _select(self, probs: Tensor, codes: Tensor, proposals: BoxList) -> BoxList:
        settings = self.settings
        box_sets = codes.view(len(codes), codes.shape[1] // 4, 4)
        foreground = probs[:, 1:].t()  # (C - 1, K): candidates come class by class
        class_inds, roi_inds = torch.nonzero(foreground > settings.score_threshold, as_tuple=True)
        labels = class_inds + 1
        set_inds = labels.clamp(max=box_sets.shape[1] - 1)
        boxes = self.box_coder.decode(
            box_sets[roi_inds, set_inds], proposals.convert("xyxy").bbox[roi_inds]
        )  # (N, 4)
        candidates = BoxList(
            boxes, proposals.size, mode="xyxy", pixel_offset=proposals.pixel_offset
        )
        candidates.add_field("labels", labels)
        candidates.add_field("scores", foreground[class_inds, roi_inds])
        candidates = candidates.clip_to_image(remove_empty=False)
        if settings.min_side > 0:
            candidates = remove_small_boxes(candidates, settings.min_side)
        kept = keep_best(
            boxlist_ml_nms(candidates, settings.nms_threshold), settings.detections_per_image
        )
        return sort_by_score(kept) if settings.best_first else kept
