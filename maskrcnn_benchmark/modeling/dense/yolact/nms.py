"""Which candidates of one image are detections (arXiv 1904.02689, section 3.4, Fast NMS).

Shapes: K candidates, C foreground classes, D detections.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.layers import ml_nms
from maskrcnn_benchmark.modeling.dense.overlaps import pairwise_iou

# Pairs of boxes that are compared at a time.
_MAX_PAIRS = 2**17


class Chosen(NamedTuple):
    """The detections of an image, best first.

    Attributes:
        candidates: (D,) which candidate each is; one may be several classes.
        labels: (D,) from 1.
        scores: (D,) probability of the class.
    """

    candidates: Tensor
    labels: Tensor
    scores: Tensor


@dataclass(frozen=True, slots=True)
class NmsSettings:
    """Limits of the selection; see ``YolactSettings``.

    Args:
        score_threshold: used by the traditional one alone.
        iou_threshold: from where boxes suppress each other.
        top_n: best candidates that are looked at.
        limit: best detections kept in an image; 0 keeps all.
    """

    score_threshold: float
    iou_threshold: float
    top_n: int
    limit: int


Nms: TypeAlias = Callable[[Tensor, Tensor, tuple[int, int], NmsSettings], Chosen]
"""(boxes (K, 4) xyxy in parts of the image, probabilities (K, C), (w, h), settings)."""


def fast_nms(boxes: Tensor, probs: Tensor, _size: tuple[int, int], settings: NmsSettings) -> Chosen:
    """Of each class the boxes that no better one of its best ``top_n`` overlaps; the best of all.

    A better box suppresses even where it was suppressed itself. There is no threshold for the
    probability of a class.
    """
    # A row for each class lies together in memory.
    best_of_class = probs.T.contiguous().topk(min(settings.top_n, len(probs)), dim=1)
    scores, order = (each.T.contiguous() for each in best_of_class)
    num_classes = probs.shape[1]
    best = scores.flatten().argsort(descending=True, stable=True)
    limit = settings.limit or len(best)
    kept: list[Tensor] = []
    # From the best on, until there are enough: most entries are never compared. Mostly few of the
    # best are suppressed; where many are, ever more are looked at together.
    start, step = 0, limit + limit // 2
    while start < len(best) and sum(map(len, kept)) < limit:
        entries = best[start : start + min(step, max(_MAX_PAIRS // len(order), 1))]
        start += len(entries)
        step *= 2
        # An entry has at most as many better ones of its class as of all classes.
        is_free = _is_free(boxes, order[:start], entries, settings.iou_threshold)
        kept.append(entries[is_free])
    found = torch.cat(kept)[:limit] if kept else best
    return Chosen(order.flatten()[found], found % num_classes + 1, scores.flatten()[found])


def _is_free(boxes: Tensor, order: Tensor, entries: Tensor, iou_threshold: float) -> Tensor:
    """(E,) bool: no better box of its class overlaps the box of an entry of ``order``, flat.

    Rows of ``order`` that no entry comes after may be left out.
    """
    ranks = torch.div(entries, order.shape[1], rounding_mode="floor")
    others = order[:, entries % order.shape[1]].T  # (E, top_n)
    ious = pairwise_iou(boxes[order.flatten()[entries]][:, None], boxes[others])[:, 0]
    # Two boxes without area have no IoU, and then the worse one goes.
    overlaps = ~(ious <= iou_threshold)
    is_better = torch.arange(len(order), device=boxes.device) < ranks[:, None]
    return ~(overlaps & is_better).any(dim=1)


def cross_class_nms(
    boxes: Tensor, probs: Tensor, size: tuple[int, int], settings: NmsSettings
) -> Chosen:
    """The same for the best class of each candidate, over all classes; ``limit`` has no effect."""
    scores, labels = probs.max(dim=1)
    unlimited = NmsSettings(settings.score_threshold, settings.iou_threshold, settings.top_n, 0)
    chosen = fast_nms(boxes, scores[:, None], size, unlimited)
    return chosen._replace(labels=labels[chosen.candidates] + 1)


def traditional_nms(
    boxes: Tensor, probs: Tensor, size: tuple[int, int], settings: NmsSettings
) -> Chosen:
    """Greedily, class by class, in pixels and with inclusive ones, as maskrcnn-benchmark does.

    Boxes go from an IoU of the threshold on.
    """
    width, height = size
    candidates, classes = (probs > settings.score_threshold).nonzero(as_tuple=True)
    scores = probs[candidates, classes]
    pixels = boxes[candidates] * boxes.new_tensor([width, height] * 2)
    below = float(np.nextafter(np.float32(settings.iou_threshold), np.float32(0)))
    kept = ml_nms(pixels, scores, classes + 1, below)
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    kept = kept[: settings.limit or len(kept)]
    return Chosen(candidates[kept], classes[kept] + 1, scores[kept])


NMS: Final[Mapping[str, Nms]] = MappingProxyType(
    {"fast": fast_nms, "cross_class": cross_class_nms, "traditional": traditional_nms}
)
"""By the names of MODEL.DENSE.SETTINGS.NMS."""
