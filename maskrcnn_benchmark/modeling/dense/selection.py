"""From the predictions of a dense detector to its best boxes.

Shapes: N images, K candidates of one image on one level.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.postprocessing import keep_best
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_ml_nms, remove_small_boxes


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """Thresholds of the selection.

    Args:
        score_threshold: a candidate's class probability must exceed it.
        pre_nms_top_n: best candidates kept on each level.
        nms_threshold: of two boxes of one class with a higher IoU the worse one goes.
        post_nms_top_n: best boxes kept in an image; 0 keeps all. Ties at the cut-off are kept.
        min_size: smaller boxes go, px.
    """

    score_threshold: float
    pre_nms_top_n: int
    nms_threshold: float
    post_nms_top_n: int
    min_size: int = 0


class Candidates(NamedTuple):
    """Boxes of one image that may be detections.

    Attributes:
        boxes: (K, 4) xyxy, px of the resized image.
        fields: what is known of each of them, by the name of the field; (K, ...).
    """

    boxes: Tensor
    fields: Mapping[str, Tensor]


Decode: TypeAlias = Callable[[Sequence[Tensor], Tensor, SelectionSettings], list[Candidates]]
"""(one tensor of each output on a level, the level's points, settings) -> those of each image."""


def join_candidates(
    levels: Sequence[Candidates], image_hw: tuple[int, int], min_size: int
) -> BoxList:
    """The candidates of one image on some levels, clipped to it, without those that are too small.

    Args:
        levels: at least one, all with the same fields.
        image_hw: (height, width) of the image before padding.
        min_size: smaller boxes go, px.
    """
    height, width = image_hw
    boxlist = BoxList(torch.cat([level.boxes for level in levels]), (width, height), mode="xyxy")
    for name in levels[0].fields:
        boxlist.add_field(name, torch.cat([level.fields[name] for level in levels]))
    return remove_small_boxes(boxlist.clip_to_image(remove_empty=False), min_size)


class Selection:
    """Selects the best labelled boxes of every image.

    Args:
        settings: thresholds.
        decode: finds the candidates of a level, with the fields ``labels`` and ``scores``.
    """

    def __init__(self, settings: SelectionSettings, decode: Decode) -> None:
        self.settings = settings
        self.decode = decode

    @torch.no_grad()
    def __call__(
        self,
        outputs: Sequence[Sequence[Tensor]],
        points: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[BoxList]:
        """One BoxList an image with the fields of the candidates, in the order that NMS leaves.

        Boxes are xyxy, px of the resized image, clipped to it.

        Args:
            outputs: predictions of the head, each with one tensor a level.
            points: per level (Li, ...).
            image_sizes: (height, width) of the images before padding.
        """
        per_level = [
            self.decode(level, level_points, self.settings)
            for *level, level_points in zip(*outputs, points, strict=True)
        ]
        return [
            self._select(levels, image_hw)
            for levels, image_hw in zip(zip(*per_level, strict=True), image_sizes, strict=True)
        ]

    def _select(self, levels: Sequence[Candidates], image_hw: tuple[int, int]) -> BoxList:
        boxlist = join_candidates(levels, image_hw, self.settings.min_size)
        boxlist = boxlist_ml_nms(boxlist, self.settings.nms_threshold)
        return keep_best(boxlist, self.settings.post_nms_top_n)
