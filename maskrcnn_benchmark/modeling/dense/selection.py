"""From the predictions of a dense detector to its best boxes.

Shapes: N images, K candidates of one image on one level.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.modeling.postprocessing import keep_best, sort_by_score
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
        pixel_offset: of the boxes, see ``BoxList``.
        clips: boxes are clipped to their image first.
        best_first: the boxes that are left come by descending score, else as NMS leaves them.
    """

    score_threshold: float
    pre_nms_top_n: int
    nms_threshold: float
    post_nms_top_n: int
    min_size: float = 0
    pixel_offset: int = LEGACY_PIXEL_OFFSET
    clips: bool = True
    best_first: bool = False


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
    levels: Sequence[Candidates],
    image_hw: tuple[int, int],
    min_size: float,
    *,
    pixel_offset: int = LEGACY_PIXEL_OFFSET,
    clips: bool = True,
) -> BoxList:
    """The candidates of one image on some levels without those that are too small.

    Args:
        levels: at least one, all with the same fields.
        image_hw: (height, width) of the image before padding.
        min_size: smaller boxes go, px.
        pixel_offset: of the boxes.
        clips: they are clipped to the image first.
    """
    height, width = image_hw
    corners = torch.cat([level.boxes for level in levels])
    boxlist = BoxList(corners, (width, height), mode="xyxy", pixel_offset=pixel_offset)
    for name in levels[0].fields:
        boxlist.add_field(name, torch.cat([level.fields[name] for level in levels]))
    if clips:
        boxlist = boxlist.clip_to_image(remove_empty=False)
    return remove_small_boxes(boxlist, min_size)


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
        """One BoxList an image with the fields of the candidates, ordered as the settings say.

        Boxes are xyxy, px of the resized image.

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
        settings = self.settings
        boxlist = join_candidates(
            levels,
            image_hw,
            settings.min_size,
            pixel_offset=settings.pixel_offset,
            clips=settings.clips,
        )
        boxlist = boxlist_ml_nms(boxlist, settings.nms_threshold)
        boxlist = keep_best(boxlist, settings.post_nms_top_n)
        return sort_by_score(boxlist) if settings.best_first else boxlist
