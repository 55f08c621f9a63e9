"""The COCO protocol, computed by hotcoco or by pycocotools.

Shapes: T IoU thresholds, R recall thresholds, C categories, A area ranges, D detection limits.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import hotcoco
import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO as ReferenceCOCO  # noqa: N811  # a class in capitals
from pycocotools.cocoeval import COCOeval as ReferenceEval

from maskrcnn_benchmark.config.errors import ConfigError

logger = logging.getLogger(__name__)


class CocoNumbers(NamedTuple):
    """What the COCO protocol yields; a value of -1 means that there is no ground truth for it.

    Attributes:
        stats: (12,) AP, AP50, AP75, AP small/medium/large, AR at 1/10/100 detections,
            AR small/medium/large, fractions of 1; of keypoints (10,) AP, AP50, AP75, AP
            medium/large, and AR of the same.
        precision: (T, R, C, A, D) fractions of 1.
        category_ids: the C COCO category ids in the order of ``precision``.
    """

    stats: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    category_ids: tuple[int, ...]


def run_coco_protocol(
    ground_truth: dict[str, Any],
    results: Sequence[Mapping[str, Any]],
    iou_type: str,
    backend: str,
) -> CocoNumbers:
    """The numbers of ``results`` on all images of ``ground_truth``.

    Args:
        ground_truth: COCO JSON content that belongs to this call: pycocotools changes it. Its ids
            may be any integers.
        results: COCO results of one type; may be empty; left as they are.
        iou_type: ``"bbox"``, ``"segm"`` or ``"keypoints"``.
        backend: ``"hotcoco"`` or ``"pycocotools"``; both compute the same numbers.

    Raises:
        ConfigError: the backend is unknown.
    """
    run = check_backend(backend)
    numbering = {
        "image_id": _numbers_from_one(one["id"] for one in ground_truth["images"]),
        "category_id": _numbers_from_one(one["id"] for one in ground_truth["categories"]),
    }
    renumbered = {
        "images": [
            {**one, "id": numbering["image_id"][one["id"]]} for one in ground_truth["images"]
        ],
        "categories": [
            {**one, "id": numbering["category_id"][one["id"]]} for one in ground_truth["categories"]
        ],
        "annotations": _renumbered(ground_truth["annotations"], numbering),
    }
    numbers = run(renumbered, _renumbered(results, numbering), iou_type)
    original = {number: own for own, number in numbering["category_id"].items()}
    return numbers._replace(category_ids=tuple(original[i] for i in numbers.category_ids))


def _numbers_from_one(ids: Iterable[int]) -> dict[int, int]:
    """Each id's place, from 1, in ascending order: backends do not take all that files may have."""
    return {own: number for number, own in enumerate(sorted(set(ids)), start=1)}


def _renumbered(
    entries: Sequence[Mapping[str, Any]], numbering: Mapping[str, Mapping[int, int]]
) -> list[dict[str, Any]]:
    """New entries with other ids of images and categories; their own count from 1.

    Those of unknown categories are left out, as there is nothing to compare them with.
    """
    images, categories = numbering["image_id"], numbering["category_id"]
    known = [entry for entry in entries if entry["category_id"] in categories]
    return [
        {
            **entry,
            "id": number,
            "image_id": images[entry["image_id"]],
            "category_id": categories[entry["category_id"]],
        }
        for number, entry in enumerate(known, start=1)
    ]


def check_backend(backend: str) -> Callable[..., CocoNumbers]:
    """The function that computes with ``backend``.

    Raises:
        ConfigError: the backend is unknown.
    """
    backends: dict[str, Callable[..., CocoNumbers]] = {
        "hotcoco": _run_hotcoco,
        "pycocotools": _run_pycocotools,
    }
    if backend not in backends:
        known = " or ".join(repr(name) for name in backends)
        raise ConfigError(f"TEST.COCO_BACKEND: expected {known}, got {backend!r}")
    return backends[backend]


def _run_hotcoco(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str
) -> CocoNumbers:
    truth = hotcoco.COCO(ground_truth)
    evaluation = hotcoco.COCOeval(truth, truth.load_res(results), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    for line in evaluation.summary_lines():
        logger.debug(line)
    return _numbers(evaluation)


def _run_pycocotools(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str
) -> CocoNumbers:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        truth = _indexed(ground_truth)
        # loadRes looks at the first result, so it cannot take an empty list.
        detections = (
            truth.loadRes(results) if results else _indexed({**ground_truth, "annotations": []})
        )
        evaluation = ReferenceEval(truth, detections, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    logger.debug(printed.getvalue())
    return _numbers(evaluation)


def _indexed(dataset: dict[str, Any]) -> ReferenceCOCO:
    coco = ReferenceCOCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _numbers(evaluation: Any) -> CocoNumbers:  # noqa: ANN401  # either backend's COCOeval
    return CocoNumbers(
        stats=np.asarray(evaluation.stats, dtype=np.float64),
        precision=np.asarray(evaluation.eval["precision"], dtype=np.float64),
        category_ids=tuple(int(category_id) for category_id in evaluation.params.catIds),
    )
