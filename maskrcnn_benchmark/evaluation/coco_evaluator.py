"""Evaluation of boxes and masks on a data set with COCO annotations."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.evaluation.checklist import zero_ap_checklist
from maskrcnn_benchmark.evaluation.coco_backends import run_coco_protocol
from maskrcnn_benchmark.evaluation.coco_format import (
    box_results,
    keypoint_results,
    mask_results,
)
from maskrcnn_benchmark.evaluation.image_results import CocoAnnotated, ImageResults
from maskrcnn_benchmark.evaluation.result import (
    KEYPOINTS,
    ClassResult,
    EvaluationResult,
    count,
    metric_names,
)
from maskrcnn_benchmark.evaluation.summary import (
    count_ground_truth,
    named_metrics,
    per_class_results,
    select_ground_truth,
    unavailable_reasons,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.files import atomic_write, write_json

logger = logging.getLogger(__name__)

_Formatter = Callable[[int, BoxList, Mapping[int, int]], Sequence[Mapping[str, Any]]]
_FORMATTERS: Mapping[str, _Formatter] = {
    "bbox": box_results,
    "segm": mask_results,
    KEYPOINTS: keypoint_results,
}
# Image id -> IoU type -> COCO results
_ResultsByImage = dict[int, dict[str, list[dict[str, Any]]]]


class _TypeResult(NamedTuple):
    metrics: dict[str, float | None]
    reasons: dict[str, str]
    per_class: dict[str, ClassResult]
    notes: tuple[str, ...]


class COCOEvaluator:
    """Collects detections image by image and scores them by the COCO protocol.

    Only COCO results (plain dictionaries, masks as RLE) are kept, so memory does not grow with
    the size of the images. The data set is never changed.

    Args:
        dataset: the evaluated data set.
        iou_types: some of ``"bbox"``, ``"segm"`` and ``"keypoints"``.
        backend: ``"hotcoco"`` or ``"pycocotools"``.
        output_folder: where ``evaluate`` writes ``bbox.json``, ``segm.json``,
            ``keypoints.json``, ``coco_results.json`` and ``predictions.pth``; ``None`` writes
            nothing.

    Raises:
        ConfigError: an IoU type is unknown.
    """

    def __init__(
        self,
        dataset: CocoAnnotated,
        iou_types: Sequence[str],
        backend: str = "hotcoco",
        output_folder: str | Path | None = None,
    ) -> None:
        unknown = sorted(set(iou_types) - set(_FORMATTERS))
        if unknown or not iou_types:
            raise ConfigError(f"iou_types: expected some of {list(_FORMATTERS)}, got {iou_types}")
        self.dataset = dataset
        self.iou_types = tuple(iou_types)
        self.backend = backend
        self.output_folder = None if output_folder is None else Path(output_folder)
        self._results = ImageResults(dataset, self._format)

    def reset(self) -> None:
        """Forget all detections."""
        self._results.clear()

    def process(self, image_ids: Sequence[int], predictions: Sequence[BoxList]) -> None:
        """Add the detections of some images; those of an image seen before replace the earlier.

        Args:
            image_ids: N COCO image ids.
            predictions: N detections in px of the resized images, with ``labels``, ``scores``
                and, for ``segm``, ``mask``, for ``keypoints``, ``keypoints``.

        Raises:
            ValueError: the lengths differ, an image is not in the data set, or a label is unknown.
        """
        self._results.add(image_ids, predictions)

    def _format(self, image_id: int, detections: BoxList) -> dict[str, list[dict[str, Any]]]:
        categories = self.dataset.contiguous_category_id_to_json_id
        return {
            iou_type: [dict(one) for one in _FORMATTERS[iou_type](image_id, detections, categories)]
            for iou_type in self.iou_types
        }

    def evaluate(self) -> EvaluationResult | None:
        """The numbers over all processes, on the main process; ``None`` on the others.

        Every process must call this. Files are written before anything is computed, so they are
        there even if the ground truth turns out to be unusable.
        """
        gathered = self._results.gather()
        if gathered is None:
            return None
        by_type = {iou_type: self._flatten(gathered, iou_type) for iou_type in self.iou_types}
        self._write_predictions(by_type, gathered)
        started = time.perf_counter()
        result = self._score(gathered, by_type)
        logger.info(
            "Evaluation took %.1f s with %s\n%s",
            time.perf_counter() - started,
            result.backend or "nothing",
            result.table(),
        )
        if self.output_folder is not None:
            write_json(self.output_folder / "coco_results.json", result.to_json(), indent=1)
        return result

    def _flatten(self, gathered: _ResultsByImage, iou_type: str) -> list[dict[str, Any]]:
        """All results of one type, in the order of the data set whoever computed them."""
        return [
            result
            for image_id in self.dataset.image_ids
            if image_id in gathered
            for result in gathered[image_id][iou_type]
        ]

    def _write_predictions(
        self, by_type: Mapping[str, list[dict[str, Any]]], gathered: _ResultsByImage
    ) -> None:
        if self.output_folder is None:
            return
        for iou_type, results in by_type.items():
            write_json(self.output_folder / f"{iou_type}.json", results)
        with atomic_write(self.output_folder / "predictions.pth") as file:
            torch.save(gathered, file)
        logger.info("Wrote COCO results to %s", self.output_folder)

    def _score(
        self, gathered: _ResultsByImage, by_type: Mapping[str, list[dict[str, Any]]]
    ) -> EvaluationResult:
        # UPSTREAM(ground-truth-copy): there pycocotools got the data set's own annotations and
        # turned their polygons into RLE in place, so that training after an evaluation broke.
        content = self.dataset.ground_truth()
        if not content.get("annotations"):
            return self._not_evaluated(len(gathered))
        scored = {
            iou_type: self._score_type(content, results, iou_type)
            for iou_type, results in by_type.items()
        }
        notes = self._results.coverage_notes(gathered)
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
