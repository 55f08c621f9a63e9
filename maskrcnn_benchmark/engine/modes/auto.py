"""The mode that is fastest here among those that are exact enough here, found by trying."""

import logging
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.modes.registry import INFERENCE_MODES, Detect
from maskrcnn_benchmark.engine.modes.rewrite import input_std
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list

logger = logging.getLogger(__name__)

_EXACT_BY_DESIGN = ("plain", "fast")
_CANDIDATES = (*_EXACT_BY_DESIGN, "int16", "bf16")
_TRIAL_HW = (480, 640)
_ROUNDS = 3
_LIMIT_PX = 0.5
_LIMIT_SCORE = 0.02


class Trial(NamedTuple):
    """How a mode did on the probe.

    Attributes:
        mode: its name.
        seconds: median of a few runs.
        box_px: distance of its boxes to the plain ones, the greatest; inf if they are others.
        score: difference of their scores, the greatest.
        num_boxes: how many were compared.
    """

    mode: str
    seconds: float
    box_px: float
    score: float
    num_boxes: int

    @property
    def is_exact(self) -> bool:
        """Whether the mode's detections are the plain ones, nearly: by design or on the probe."""
        if self.mode in _EXACT_BY_DESIGN:
            return True
        return self.num_boxes > 0 and self.box_px <= _LIMIT_PX and self.score <= _LIMIT_SCORE


def choose(trials: Sequence[Trial]) -> Trial:
    """The fastest trial of those that are exact, of which there is one."""
    return min((trial for trial in trials if trial.is_exact), key=lambda trial: trial.seconds)


def compare(found: Sequence[BoxList], expected: Sequence[BoxList]) -> tuple[float, float, int]:
    """Greatest distance of boxes in px and of scores, and how many expected boxes there were.

    Each expected box is compared with the nearest one of its label; ``inf`` where their numbers
    differ or one has none.
    """
    box_px = score = 0.0
    for mine, reference in zip(found, expected, strict=True):
        if len(mine) != len(reference):
            return math.inf, math.inf, sum(map(len, expected))
        if len(reference) == 0:
            continue
        distances = torch.cdist(reference.bbox, mine.bbox, p=math.inf)
        if reference.has_field("labels"):
            other = reference.get_field("labels")[:, None] != mine.get_field("labels")
            distances = distances.masked_fill(other, math.inf)
        nearest, order = distances.min(dim=1)
        box_px = max(box_px, float(nearest.max()))
        name = "scores" if reference.has_field("scores") else "objectness"
        difference = (mine.get_field(name)[order] - reference.get_field(name)).abs().max()
        score = max(score, float(difference))
    return box_px, score, sum(map(len, expected))


def _make_probe(device: torch.device, std: float) -> ImageList:
    """One image of coloured blobs of several sizes, as strong as photos of this deviation."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 3, *_TRIAL_HW)
    for cells in (4, 10, 30):
        blobs = torch.randn(1, 3, cells, cells, generator=generator)
        image += 0.8 * std * nn.functional.interpolate(blobs, size=_TRIAL_HW, mode="bilinear")
    return to_image_list([image[0].to(device)])


def _run(detect: Detect, images: ImageList) -> tuple[Sequence[BoxList], float]:
    start = time.perf_counter()
    # On the CPU, which waits for a device.
    found = [boxes.to(torch.device("cpu")) for boxes in detect(images)]
    return found, time.perf_counter() - start


def _try(mode: str, detect: Detect, expected: Sequence[BoxList], images: ImageList) -> Trial:
    found, _ = _run(detect, images)
    seconds = statistics.median(_run(detect, images)[1] for _ in range(_ROUNDS))
    return Trial(mode, seconds, *compare(found, expected))


def _describe(trials: Iterable[Trial]) -> str:
    return "; ".join(
        f"{trial.mode} {1000 * trial.seconds:.0f} ms, {trial.num_boxes} boxes within "
        f"{trial.box_px:.3g} px and {trial.score:.2g} of the score"
        for trial in trials
    )


@INFERENCE_MODES.register("auto")
@torch.no_grad()
def detect_as_fast_as_is_exact(model: nn.Module, device: torch.device) -> Detect:
    """What the fastest mode made of the model that a probe shows to be exact; the log says which.

    Modes of less precision are chosen only where they find the boxes that ``plain`` finds on the
    probe, and there are some.
    """
    images = _make_probe(device, input_std(model))
    expected, _ = _run(model, images)
    detects: dict[str, Detect] = {}
    trials = []
    for mode in _CANDIDATES:
        try:
            detects[mode] = INFERENCE_MODES[mode](model, device)
        except ConfigError as error:
            logger.info("inference mode auto: not %s: %s", mode, error)
            continue
        trials.append(_try(mode, detects[mode], expected, images))
    chosen = choose(trials)
    size = "x".join(map(str, _TRIAL_HW))
    logger.info(
        "inference mode auto: chose %s on an image of %s: %s", chosen.mode, size, _describe(trials)
    )
    return detects[chosen.mode]
