"""Recall of proposals without classes.

Shapes: K proposals and G ground truths of one image, T IoU thresholds.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from maskrcnn_benchmark.evaluation.evaluator import Evaluator
from maskrcnn_benchmark.evaluation.result import (
    PROPOSAL_METRIC_NAMES,
    PROPOSALS,
    EvaluationResult,
)
from maskrcnn_benchmark.evaluation.summary import (
    AREA_RANGES,
    area_of_metric,
    count_ground_truth,
    objects_by_image,
    select_ground_truth,
    unavailable_reasons,
)
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou

_THRESHOLDS: Final = tuple(0.5 + 0.05 * i for i in range(10))
_LARGEST_LIMIT: Final = 1000
_ANY_AREA: Final = (0.0, 1e10)
_PERCENT: Final = 100.0


def covered_ious(overlaps: Tensor) -> Tensor:
    """(G,) IoU with which each ground truth is found, 0 if it is not, in no particular order.

    Of all pairs the one of highest IoU is taken, its proposal and ground truth are used up, and so
    on.

    Args:
        overlaps: (K, G) IoUs.

    Source: Detectron's evaluation of box proposals.
    """
    num_proposals, num_truths = overlaps.shape
    found = overlaps.new_zeros(num_truths)
    remaining = overlaps.clone()
    for i in range(min(num_proposals, num_truths)):
        best = int(remaining.argmax())
        proposal, truth = divmod(best, num_truths)
        found[i] = remaining[proposal, truth]
        remaining[proposal] = -1
        remaining[:, truth] = -1
    return found


def average_recall(ious: Tensor) -> float | None:
    """Share of ground truths that are found, in percent, averaged over IoUs of 0.5, ..., 0.95.

    The IoUs are those of ``covered_ious``; None comes of none.
    """
    if len(ious) == 0:
        return None
    thresholds = ious.new_tensor(_THRESHOLDS)
    recalls = (ious[:, None] >= thresholds).double().mean(dim=0)
    return float(recalls.mean()) * _PERCENT


class ProposalEvaluator(Evaluator[dict[str, Tensor]]):
    """Collects proposals image by image and scores their recall.

    The numbers are maskrcnn-benchmark's: average recall of the 100 and the 1000 best proposals of
    an image, of all ground truths but crowds and of those in each area range.
    """

    def keep(self, image_id: int, predictions: BoxList) -> dict[str, Tensor]:  # noqa: ARG002 - of the base
        """The best proposals of one image, best first: what the largest limit can see."""
        objectness: Tensor = predictions.get_field("objectness").detach()
        order = objectness.argsort(descending=True, stable=True)[:_LARGEST_LIMIT]
        inclusive = predictions.with_pixel_offset(LEGACY_PIXEL_OFFSET)
        boxes = inclusive.convert("xyxy").bbox.detach()
        return {"boxes": boxes[order].cpu(), "objectness": objectness[order].cpu()}

    def score(self, gathered: Mapping[int, dict[str, Tensor]]) -> EvaluationResult:
        """The average recall at both limits, overall and in each area range."""
        content = self.dataset.ground_truth()
        truth = select_ground_truth(content, self.dataset.image_ids, "bbox").content
        ious = _ious_by_metric(gathered, truth)
        metrics = {name: average_recall(ious[name]) for name in PROPOSAL_METRIC_NAMES}
        return EvaluationResult(
            dataset=self.dataset.name,
            num_images=len(self.dataset.image_ids),
            metrics={PROPOSALS: metrics},
            reasons={PROPOSALS: unavailable_reasons(metrics, count_ground_truth(truth))},
            notes=self.coverage_notes(gathered),
        )


def _ious_by_metric(
    gathered: Mapping[int, dict[str, Tensor]], truth: Mapping[str, Any]
) -> dict[str, Tensor]:
    """For each number the IoUs of all ground truths that it is about."""
    parts: dict[str, list[Tensor]] = {name: [torch.zeros(0)] for name in PROPOSAL_METRIC_NAMES}
    for image_id, objects in objects_by_image(truth):
        boxes = objects[~objects.get_field("is_crowd")]
        if not len(boxes):
            continue
        found = gathered.get(image_id, {"boxes": torch.zeros(0, 4)})
        overlaps = boxlist_iou(BoxList(found["boxes"], boxes.size), boxes)
        areas = boxes.get_field("areas")
        for name, ious in parts.items():
            low, high = AREA_RANGES.get(area_of_metric(name) or "", _ANY_AREA)
            is_meant = (areas >= low) & (areas <= high)
            limit = int(name.partition("@")[2])
            ious.append(covered_ious(overlaps[:limit, is_meant]))
    return {name: torch.cat(ious) for name, ious in parts.items()}
