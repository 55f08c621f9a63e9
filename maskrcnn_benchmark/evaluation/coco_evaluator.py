"""Evaluation of boxes and masks on a data set with COCO annotations."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.evaluation.checklist import zero_ap_checklist
from maskrcnn_benchmark.evaluation.coco_backends import run_coco_protocol
from maskrcnn_benchmark.evaluation.coco_format import (
    Result,
    box_results,
    keypoint_results,
    mask_results,
)
from maskrcnn_benchmark.evaluation.evaluator import AnnotatedDataset, Evaluator
from maskrcnn_benchmark.evaluation.operating_point import best_f1_threshold
from maskrcnn_benchmark.evaluation.result import (
    KEYPOINTS,
    ClassResult,
    EvaluationResult,
    count,
    metric_names,
)
from maskrcnn_benchmark.evaluation.summary import (
    MOST_DETECTIONS,
    count_ground_truth,
    named_metrics,
    per_class_results,
    select_ground_truth,
    unavailable_reasons,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.files import write_json

logger = logging.getLogger(__name__)

_FORMATTERS: Mapping[str, Callable[[int, BoxList, Mapping[int, int]], list[Result]]] = {
    "bbox": box_results,
    "segm": mask_results,
    KEYPOINTS: keypoint_results,
}
# IoU type -> COCO results of an image
_Results = dict[str, list[Result]]


class _TypeResult(NamedTuple):
    metrics: dict[str, float | None]
    reasons: dict[str, str]
    per_class: dict[str, ClassResult]
    notes: tuple[str, ...]


class COCOEvaluator(Evaluator[_Results]):
    """Collects detections image by image and scores them by the COCO protocol.

    Only COCO results (plain dictionaries, masks as RLE) are kept, so memory does not grow with
    the size of the images.

    ``evaluate`` also writes the results: ``bbox.json``, ``segm.json``, ``keypoints.json``.

    Args:
        dataset: the evaluated data set.
        iou_types: some of ``"bbox"``, ``"segm"`` and ``"keypoints"``.
        backend: ``"hotcoco"`` or ``"pycocotools"``.
        output_folder: as for ``Evaluator``.

    Raises:
        ConfigError: an IoU type is unknown.
    """

    def __init__(
        self,
        dataset: AnnotatedDataset,
        iou_types: Sequence[str],
        backend: str = "hotcoco",
        output_folder: str | Path | None = None,
    ) -> None:
        unknown = sorted(set(iou_types) - set(_FORMATTERS))
        if unknown or not iou_types:
            raise ConfigError(f"iou_types: expected some of {list(_FORMATTERS)}, got {iou_types}")
        super().__init__(dataset, output_folder)
        self.iou_types = tuple(iou_types)
        self.backend = backend

    def keep(self, image_id: int, predictions: BoxList) -> _Results:
        """The detections as COCO results of each type."""
        categories = self.dataset.contiguous_category_id_to_json_id
        return {
            iou_type: _FORMATTERS[iou_type](image_id, predictions, categories)
            for iou_type in self.iou_types
        }

    def score(self, gathered: Mapping[int, _Results]) -> EvaluationResult:
        """The numbers of each type by the COCO protocol, after the results are written."""
        # In the order of the data set, whoever computed them.
        by_type = {
            iou_type: [
                result
                for image_id in self.dataset.image_ids
                if image_id in gathered
                for result in gathered[image_id][iou_type]
            ]
            for iou_type in self.iou_types
        }
        if self.output_folder is not None:
            # Data sets written for the original have no such thing.
            texts = getattr(self.dataset, "image_texts", {})
            for iou_type, results in by_type.items():
                write_json(self.output_folder / f"{iou_type}.json", _with_texts(results, texts))
            logger.info("Wrote COCO results to %s", self.output_folder)
        # UPSTREAM(ground-truth-copy): there pycocotools got the data set's own annotations and
        # turned their polygons into RLE in place, so that training after an evaluation broke.
        content = self.dataset.ground_truth()
        if not content.get("annotations"):
            return self._not_evaluated(len(gathered))
        scored = {
            iou_type: self._score_type(content, results, iou_type)
            for iou_type, results in by_type.items()
        }
        notes = self.coverage_notes(gathered)
        for one in scored.values():
            notes += one.notes
        return EvaluationResult(
            dataset=self.dataset.name,
            num_images=len(self.dataset.image_ids),
            metrics={iou_type: one.metrics for iou_type, one in scored.items()},
            reasons={iou_type: one.reasons for iou_type, one in scored.items() if one.reasons},
            per_class={iou_type: one.per_class for iou_type, one in scored.items()},
            notes=notes,
            backend=self.backend,
            score_threshold=best_f1_threshold(content["annotations"], by_type["bbox"])
            if "bbox" in by_type
            else None,
        )

    def _score_type(
        self, content: Mapping[str, Any], results: list[dict[str, Any]], iou_type: str
    ) -> _TypeResult:
        truth = select_ground_truth(content, self.dataset.image_ids, iou_type)
        counts = count_ground_truth(truth.content, iou_type)
        numbers = run_coco_protocol(truth.content, results, iou_type, self.backend)
        metrics = named_metrics(numbers, iou_type)
        if metrics["AP"] == 0.0:
            num_images = len(self.dataset.image_ids)
            logger.warning(zero_ap_checklist(iou_type, results, num_images, counts.total))
        notes: tuple[str, ...] = ()
        if truth.num_dropped:
            without = count(truth.num_dropped, "annotation")
            needed = "keypoints" if iou_type == KEYPOINTS else "a mask"
            notes = (f"{iou_type}: {without} without {needed} left out",)
        if counts.most_in_image > MOST_DETECTIONS:
            notes += (
                f"{iou_type}: a photo has {counts.most_in_image} objects of one class, and the "
                f"protocol counts {MOST_DETECTIONS} detections of a class in a photo: AP cannot "
                "reach 100 there",
            )
        return _TypeResult(
            metrics=metrics,
            reasons=unavailable_reasons(metrics, counts),
            per_class=per_class_results(numbers, content["categories"], counts),
            notes=notes,
        )

    def _not_evaluated(self, num_images: int) -> EvaluationResult:
        reason = f"{self.dataset.name} has no annotations"
        logger.warning(
            "%s, so nothing was evaluated; the result files can be sent to its test server",
            reason,
        )
        return EvaluationResult(
            dataset=self.dataset.name,
            num_images=num_images,
            metrics={one: dict.fromkeys(metric_names(one)) for one in self.iou_types},
            reasons={one: dict.fromkeys(metric_names(one), reason) for one in self.iou_types},
        )


def _with_texts(results: list[dict[str, Any]], texts: Mapping[int, str]) -> list[dict[str, Any]]:
    """The results with ids of images as the annotations have them."""
    if not texts:
        return results
    return [{**one, "image_id": texts.get(one["image_id"], one["image_id"])} for one in results]
