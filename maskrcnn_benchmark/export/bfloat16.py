"""Whether a file of 16 bits is as close to its model as the same rounding in PyTorch is.

Rounding to 8 bits moves boxes and scores, and decides which of two objects suppresses the other;
how far depends on the model. The yardstick is what rounds as the file may: of our own operators
TEST.INFERENCE_MODE bf16, which keeps more bits than PyTorch's layers do, of all others PyTorch's
autocast, in heads for boxes, too, where some files round less. Both are compared with the model as
it is, on the same photos: a detection is found again by one of its class whose box has an IoU of at
least 0.75 with its own, and whose score is within 0.1. The file passes if it loses no more than 1.5
times the detections that the yardstick loses, and 2 % of all; and if corners, scores and mask IoUs
of its median detection are no more than 1.5 times as far off, and 0.1 px, 1e-3, 0.01; of keypoints,
which lie on pixels of their boxes, and 0.5 px.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from maskrcnn_benchmark.engine.modes import INFERENCE_MODES, Detect
from maskrcnn_benchmark.engine.modes.fast import check_bfloat16
from maskrcnn_benchmark.export.parts import keep_last_layers
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source
from maskrcnn_benchmark.export.verify import (
    NotTheSameError,
    Photos,
    check_something,
    detect_with,
    mask_ious,
)
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.image_list import ImageList

logger = logging.getLogger(__name__)

_MODE: Final = "bf16"
_LEAST_IOU: Final = 0.75
_FURTHEST_SCORE: Final = 0.1
"""Of two detections of one object."""
_FACTOR: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Closeness:
    """How close detections are to those of the model as it is.

    Attributes:
        detections: of the model.
        gaps: (n, 4) of those that are found again: the furthest corner in px, the difference of
            scores, 1 less the IoU of the masks, the distance of the median keypoint in px.
    """

    detections: int
    gaps: Tensor

    @property
    def lost(self) -> int:
        """Detections that are not found again."""
        return self.detections - len(self.gaps)

    def medians(self) -> list[float]:
        """Of the gaps."""
        medians: list[float] = self.gaps.median(dim=0).values.tolist()
        return medians

    def __str__(self) -> str:
        if not len(self.gaps):
            return f"none of {self.detections} detections"
        px, score, mask, point = self.medians()
        return (
            f"{len(self.gaps)} of {self.detections} detections, medians: corners within {px:.2g} "
            f"px, scores within {score:.2g}, masks with an IoU of {1 - mask:.3f}, keypoints within "
            f"{point:.2g} px"
        )


def join(found: Sequence[Closeness]) -> Closeness:
    """That on the photos of all."""
    gaps = torch.cat([each.gaps for each in found] or [torch.zeros(0, 4)])
    return Closeness(sum(each.detections for each in found), gaps)


LIMITS: Final = (0.1, 1e-3, 0.01, 0.5)
"""Gaps that the median detection of any file of 16 bits may have."""
LOST: Final = 0.02
"""Part of all detections that any of them may lose."""


def make_bfloat16_check(source: Source) -> Callable[[Run, Photos], Closeness]:
    """What tells how close a file is to the model, and raises NotTheSameError if that is too far.

    Raises:
        ConfigError: this processor does not compute in bfloat16.
    """
    return partial(_verify, source, make_yardstick(source))


def make_yardstick(source: Source) -> Detect:
    """What finds the detections of a model with the rounding that its file may have.

    Raises:
        ConfigError: this processor does not compute in bfloat16.
    """
    device = torch.device("cpu")
    if source.metadata.operators == "own":
        return INFERENCE_MODES[_MODE](source.model, device)
    check_bfloat16(device)
    twin = copy.deepcopy(source.model)
    stage: Any = twin.rpn
    keep_last_layers(stage.head)

    def detect(images: ImageList) -> list[BoxList]:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            found: list[BoxList] = twin(images)
        return found

    return detect


def _verify(source: Source, yardstick: Detect, run: Run, photos: Photos) -> Closeness:
    by_file, by_rounding = [], []
    for name, photo in photos:
        expected = source.detect(photo)
        with torch.no_grad():
            found = yardstick(source.inputs(photo))[0].resize(photo.size)
        by_rounding.append(measure(found, expected))
        by_file.append(measure(detect_with(source, run, photo), expected))
        logger.info("%s (%d x %d px): %s", name, *photo.size, by_file[-1])
    of_file, of_rounding = join(by_file), join(by_rounding)
    check_something(of_file.detections)
    logger.info("The same rounding in PyTorch: %s", of_rounding)
    judge(of_file, of_rounding)
    return of_file


def judge(of_file: Closeness, of_rounding: Closeness) -> None:
    """Raise NotTheSameError unless the file is as close as the yardstick, within the limits."""
    is_close = of_file.lost <= _FACTOR * of_rounding.lost + LOST * of_file.detections
    # Of a file that finds nothing again nothing is known.
    is_close = is_close and len(of_file.gaps) > 0
    if is_close and len(of_rounding.gaps):
        triples = zip(of_file.medians(), of_rounding.medians(), LIMITS, strict=True)
        # What is no number is not close.
        is_close = all(mine <= _FACTOR * theirs + limit for mine, theirs, limit in triples)
    if not is_close:
        raise NotTheSameError(
            "the file is less close to the model than the same rounding in PyTorch: it finds "
            f"{of_file}; PyTorch {of_rounding}"
        )


def measure(found: BoxList, expected: BoxList) -> Closeness:
    """How close detections on a photo are to those that are expected, best first."""
    pairs = torch.tensor(_pairs(found, expected), dtype=torch.int64).reshape(-1, 2)
    first, second = expected[pairs[:, 0]], found[pairs[:, 1]]
    px = (first.bbox - second.bbox).abs().amax(dim=1)
    score = (first.get_field("scores") - second.get_field("scores")).abs()
    if expected.has_field("mask_scores"):
        own = (first.get_field("mask_scores") - second.get_field("mask_scores")).abs()
        score = torch.maximum(score, own)
    mask = torch.tensor([1 - iou for iou in mask_ious(first, second)]) if len(pairs) else px
    none = torch.zeros_like(px)
    point = _point_distance(first, second) if expected.has_field("keypoints") else none
    gaps = [px, score, mask if expected.has_field("mask") else none, point]
    return Closeness(len(expected), torch.stack(gaps, dim=1))


def _point_distance(first: BoxList, second: BoxList) -> Tensor:
    """(n,) that of the median keypoint of each two detections, px."""
    mine, theirs = (boxes.get_field("keypoints").keypoints[..., :2] for boxes in (first, second))
    distance: Tensor = (mine - theirs).norm(dim=2).median(dim=1).values
    return distance


def _pairs(found: BoxList, expected: BoxList) -> list[tuple[int, int]]:
    """(expected, found) indices of what is the same object, each at most once."""
    if not len(found) or not len(expected):
        return []
    overlaps = boxlist_iou(expected, found)
    gaps = (expected.get_field("scores")[:, None] - found.get_field("scores")).abs()
    is_other = expected.get_field("labels")[:, None] != found.get_field("labels")
    overlaps[is_other | ~(gaps <= _FURTHEST_SCORE) | ~(overlaps >= _LEAST_IOU)] = 0
    pairs = []
    for mine in range(len(expected)):
        best = int(overlaps[mine].argmax())
        if overlaps[mine, best] > 0:
            pairs.append((mine, best))
            overlaps[:, best] = 0
    return pairs
