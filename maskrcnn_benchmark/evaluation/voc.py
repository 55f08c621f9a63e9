"""Evaluation of boxes by the protocol of the PASCAL VOC challenges.

Shapes: K detections and G ground truths of one image, D detections of one class in all images.

Source: The PASCAL Visual Object Classes Challenge (Everingham et al. 2010), section 4.2.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.evaluation.evaluator import Evaluator
from maskrcnn_benchmark.evaluation.result import VOC_BOXES, EvaluationResult
from maskrcnn_benchmark.evaluation.summary import objects_by_image
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.utils.files import atomic_write

logger = logging.getLogger(__name__)

_MIN_IOU: Final = 0.5
_PERCENT: Final = 100.0
_NUM_RECALL_STEPS: Final = 11


class ClassDetections(NamedTuple):
    """The detections of one class in all images, and what there was to find.

    Attributes:
        scores: (D,).
        is_right: (D,) bool; duplicates and misses are wrong. Detections of difficult objects are
            left out.
        num_truths: objects that are not difficult.
    """

    scores: Tensor
    is_right: Tensor
    num_truths: int


class VOCEvaluator(Evaluator[dict[str, Tensor]]):
    """Collects detections image by image and scores them by VOC's mean average precision.

    ``AP50`` is the area under the precision-recall curve (since VOC2010), ``AP50_07`` the mean
    precision at eleven recalls (until VOC2009, and in the original), both at an IoU of 0.5, in
    percent, averaged over the classes that occur. Crowds of the data set are its difficult objects.
    ``evaluate`` also writes ``result.txt``, with each class.
    """

    NUMBERS_FILE: ClassVar[str] = "voc_results.json"

    def keep(self, image_id: int, predictions: BoxList) -> dict[str, Tensor]:  # noqa: ARG002 - of the base
        """Boxes xyxy (inclusive), labels and scores on the CPU."""
        boxes = predictions.with_pixel_offset(LEGACY_PIXEL_OFFSET).convert("xyxy")
        return {
            "boxes": boxes.bbox.detach().cpu(),
            "labels": boxes.get_field("labels").detach().cpu(),
            "scores": boxes.get_field("scores").detach().cpu(),
        }

    def score(self, gathered: Mapping[int, dict[str, Tensor]]) -> EvaluationResult:
        """Both means over the classes; the log and ``result.txt`` get each class."""
        precisions = {
            name: average_precisions(detections)
            for name, detections in self._by_class(gathered).items()
        }
        found = [values for values in precisions.values() if values is not None]
        means = [sum(column) / len(found) for column in zip(*found, strict=True)] or [None, None]
        text = _class_table(precisions)
        logger.info("%s", text)
        if self.output_folder is not None:
            with atomic_write(self.output_folder / "result.txt", "w") as file:
                file.write(f"{text}\n")
        return EvaluationResult(
            dataset=self.dataset.name,
            num_images=len(self.dataset.image_ids),
            metrics={VOC_BOXES: {"AP50": means[0], "AP50_07": means[1]}},
            reasons={} if found else {VOC_BOXES: dict.fromkeys(("AP50", "AP50_07"), _NOTHING)},
            notes=self.coverage_notes(gathered),
            backend="voc",
        )

    def _by_class(self, gathered: Mapping[int, dict[str, Tensor]]) -> dict[str, ClassDetections]:
        content = self.dataset.ground_truth()
        names = {category["id"]: category["name"] for category in content["categories"]}
        ids = self.dataset.contiguous_category_id_to_json_id
        parts: dict[str, list[ClassDetections]] = {names[ids[label]]: [] for label in ids}
        # UPSTREAM(voc-ground-truth): the original left out images without detections, objects
        # and all, and counted detections of difficult objects as mistakes.
        for image_id, truth in objects_by_image(content):
            found = gathered.get(image_id, _NO_DETECTIONS)
            present = {*truth.get_field("category_ids").tolist()}
            for label, category_id in ids.items():
                if category_id in present or label in found["labels"]:
                    objects = truth[truth.get_field("category_ids") == category_id]
                    parts[names[category_id]].append(_in_one_image(found, label, objects))
        return {name: _joined(images) for name, images in parts.items()}


_NOTHING: Final = "no ground truth in these images"
_NO_DETECTIONS: Final = {
    "boxes": torch.zeros(0, 4),
    "labels": torch.zeros(0, dtype=torch.int64),
    "scores": torch.zeros(0),
}


def _in_one_image(found: Mapping[str, Tensor], label: int, truth: BoxList) -> ClassDetections:
    chosen = (found["labels"] == label).nonzero()[:, 0]
    chosen = chosen[found["scores"][chosen].argsort(descending=True, stable=True)]
    is_right, counts = match_detections(BoxList(found["boxes"][chosen], truth.size), truth)
    return ClassDetections(
        scores=found["scores"][chosen][counts],
        is_right=is_right[counts],
        num_truths=int((~truth.get_field("is_crowd")).sum()),
    )


def _joined(images: Sequence[ClassDetections]) -> ClassDetections:
    return ClassDetections(
        scores=torch.cat([torch.zeros(0), *(image.scores for image in images)]),
        is_right=torch.cat([torch.zeros(0, dtype=torch.bool), *(i.is_right for i in images)]),
        num_truths=sum(image.num_truths for image in images),
    )


def match_detections(detections: BoxList, truth: BoxList) -> tuple[Tensor, Tensor]:
    """(K,) bool: right detections; (K,) bool: those that count, being of no difficult object.

    Each detection is compared with the object it overlaps most; of several detections of one object
    the first is right.

    Args:
        detections: K boxes of one class, best first.
        truth: G objects of that class with the field "is_crowd" of difficult ones.
    """
    is_right = torch.zeros(len(detections), dtype=torch.bool)
    counts = torch.ones(len(detections), dtype=torch.bool)
    if len(truth) == 0:
        return is_right, counts
    overlaps, nearest = boxlist_iou(detections, truth).max(dim=1)
    is_difficult, is_taken = truth.get_field("is_crowd").tolist(), [False] * len(truth)
    for k, (overlap, g) in enumerate(zip(overlaps.tolist(), nearest.tolist(), strict=True)):
        if overlap < _MIN_IOU:
            continue
        counts[k] = not is_difficult[g]
        is_right[k] = not is_taken[g] and not is_difficult[g]
        is_taken[g] = True
    return is_right, counts


def average_precisions(detections: ClassDetections) -> tuple[float, float] | None:
    """Area under the precision-recall curve and mean of eleven precisions, in percent.

    None of a class without objects to find.
    """
    if detections.num_truths == 0:
        return None
    order = detections.scores.argsort(descending=True, stable=True)
    num_right = detections.is_right[order].double().cumsum(dim=0)
    recall = num_right / detections.num_truths
    precision = num_right / torch.arange(1, len(order) + 1)
    # The best precision at this recall or a higher one.
    best = precision.flip(0).cummax(dim=0).values.flip(0) if len(order) else precision
    steps = torch.diff(recall, prepend=recall.new_zeros(1))
    eleven = [
        float(best[recall >= step / (_NUM_RECALL_STEPS - 1)][:1].sum())
        for step in range(_NUM_RECALL_STEPS)
    ]
    return float((steps * best).sum()) * _PERCENT, sum(eleven) / _NUM_RECALL_STEPS * _PERCENT


def _class_table(precisions: Mapping[str, tuple[float, float] | None]) -> str:
    lines = [f"{'class':<16}AP50  AP50_07"]
    for name, values in precisions.items():
        cells = "n/a" if values is None else f"{values[0]:4.1f}     {values[1]:4.1f}"
        lines.append(f"{name:<16}{cells}")
    return "\n".join(lines)
