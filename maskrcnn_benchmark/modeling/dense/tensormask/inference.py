"""From the predictions of TensorMask to detections (arXiv 1903.12174).

Shapes: N images, C foreground classes, Li windows of level i, K candidates, D detections, S side of
a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import scores_above
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.tensormask.head import TensorMaskOutputs
from maskrcnn_benchmark.modeling.dense.tensormask.places import cells_hw, locate
from maskrcnn_benchmark.modeling.dense.tensormask.windows import WindowReader
from maskrcnn_benchmark.modeling.postprocessing import sort_by_score
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_ml_nms
from maskrcnn_benchmark.structures.paste_rules import SUB_PIXEL_PASTE
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of the selection; see ``TensorMaskSettings``.

    Args:
        score_threshold: a candidate's class is more probable.
        top_n: best candidates of an image, of all levels together.
        nms_threshold: of two boxes of one class with a higher IoU the worse one goes.
        num_detections: best boxes kept in an image; 0 keeps all.
    """

    score_threshold: float
    top_n: int
    nms_threshold: float
    num_detections: int


class _Candidates(NamedTuple):
    """Windows of one image that may be detections, (K,) each.

    Attributes:
        windows: their numbers over all levels.
        labels: from 1.
        scores: probabilities.
    """

    windows: Tensor
    labels: Tensor
    scores: Tensor


class TensorMaskSelection:
    """The best boxes of every image, with masks.

    Args:
        limits: thresholds.
        coder: boxes relative to windows.
        reader: masks of windows.
    """

    def __init__(self, *, limits: Limits, coder: BoxCoder, reader: WindowReader) -> None:
        self.limits = limits
        self.coder = coder
        self.reader = reader

    @torch.no_grad()
    def __call__(
        self,
        outputs: TensorMaskOutputs,
        points: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """One BoxList of half-open boxes an image, best first; they may leave it.

        Fields are ``labels``, ``scores`` and ``mask``: of each box the mask of its window.

        Args:
            outputs: predictions of the head.
            points: per level (Li, 4) windows.
            image_sizes: (height, width) of the images before padding.
        """
        return [
            self._select(outputs, points, image, image_hw)
            for image, image_hw in enumerate(image_sizes)
        ]

    def _select(
        self,
        outputs: TensorMaskOutputs,
        points: Sequence[Tensor],
        image: int,
        image_hw: tuple[int, int],
    ) -> BoxList:
        limits, size = self.limits, (image_hw[1], image_hw[0])
        windows, labels, scores = self._candidates(outputs, image)
        anchors = torch.cat(list(points))[windows]
        codes = flatten_levels([level[image : image + 1] for level in outputs.deltas], 4)
        boxes = self.coder.decode(codes[0, windows], anchors)
        found = BoxList(boxes, size, pixel_offset=0)
        found.add_field("labels", labels)
        found.add_field("scores", scores)
        found.add_field("windows", windows)
        found.add_field("anchors", anchors)
        found = sort_by_score(boxlist_ml_nms(found, limits.nms_threshold))
        found = found[: limits.num_detections or len(found)]
        masks = self._masks(outputs, image, found.get_field("windows"))
        boxes_of_masks = found.get_field("anchors")
        found = found.copy_with_fields(["labels", "scores"])
        # UPSTREAM(uncut-masks): a mask fills its window, however small the box that was predicted.
        found.add_field("mask", BoxMasks(masks, boxes_of_masks, size, SUB_PIXEL_PASTE))
        return found

    def _candidates(self, outputs: TensorMaskOutputs, image: int) -> _Candidates:
        num_sizes, parts, start = self.reader.num_sizes, [], 0
        for level in outputs.logits:
            num_foreground = level.shape[1] // num_sizes
            _, windows, classes, scores = scores_above(
                level[image : image + 1], num_foreground, self.limits.score_threshold
            )
            parts.append((windows + start, classes + 1, scores))
            start += level.shape[2] * level.shape[3] * num_sizes
        windows, labels, scores = (torch.cat(each) for each in zip(*parts, strict=True))
        best = scores.argsort(descending=True, stable=True)[: self.limits.top_n]
        return _Candidates(windows[best], labels[best], scores[best])

    def _masks(self, outputs: TensorMaskOutputs, image: int, windows: Tensor) -> tuple[Tensor, ...]:
        """D probabilities (1, S, S) of windows (D,)."""
        places = locate(windows, cells_hw(outputs.logits), self.reader.num_sizes)
        masks: dict[int, Tensor] = {}
        for inds, logits in self.reader.read(outputs, torch.full_like(windows, image), places):
            masks.update(zip(inds.tolist(), logits.sigmoid()[:, None], strict=True))
        return tuple(masks[index] for index in range(len(windows)))
