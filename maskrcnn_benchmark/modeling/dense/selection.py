"""From the predictions of a dense detector to its best boxes.

Shapes: N images, K candidates of one image on one level.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import nms_mask
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.modeling.postprocessing import is_among_best, sort_by_score
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import has_least_size


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


Levels: TypeAlias = Sequence[Sequence[Tensor]]
"""One tensor of each output of the head, on each level."""
Decode: TypeAlias = Callable[
    [Levels, Sequence[Tensor], SelectionSettings], Sequence[Sequence[Candidates]]
]
"""(outputs, the levels' points, settings) -> of each level those of each image."""


def each_level(
    decode_level: Callable[[Sequence[Tensor], Tensor, SelectionSettings], list[Candidates]],
) -> Decode:
    """What decodes level after level.

    Args:
        decode_level: (one tensor of each output, the level's points, settings) -> those of each
            image.
    """

    def decode(
        levels: Levels, points: Sequence[Tensor], settings: SelectionSettings
    ) -> list[list[Candidates]]:
        return [
            decode_level(level, level_points, settings)
            for level, level_points in zip(levels, points, strict=True)
        ]

    return decode


class Selection:
    """Selects the best labelled boxes of every image.

    Args:
        settings: thresholds.
        decode: finds the candidates of all levels, with the fields ``labels`` and ``scores``.
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
        per_level = self.decode(list(zip(*outputs, strict=True)), points, self.settings)
        candidates, masks = [], []
        for levels, image_hw in zip(zip(*per_level, strict=True), image_sizes, strict=True):
            candidates.append(self._joined(levels, image_hw))
            is_large = has_least_size(candidates[-1], self.settings.min_size)
            masks.append(self._survive(candidates[-1], is_large, [len(each[0]) for each in levels]))
        return [self._ordered(boxes) for boxes in _masked(candidates, masks)]

    def _joined(self, levels: Sequence[Candidates], image_hw: tuple[int, int]) -> BoxList:
        """The candidates of one image on all levels."""
        height, width = image_hw
        corners = torch.cat([level.boxes for level in levels])
        boxlist = BoxList(corners, (width, height), pixel_offset=self.settings.pixel_offset)
        for name in levels[0].fields:
            boxlist.add_field(name, torch.cat([level.fields[name] for level in levels]))
        return boxlist.clip_to_image(remove_empty=False) if self.settings.clips else boxlist

    def _survive(self, boxlist: BoxList, is_large: Tensor, num_per_level: Sequence[int]) -> Tensor:  # noqa: ARG002 - of subclasses
        """(K,) bool: which candidates of an image are its best boxes.

        Args:
            boxlist: the candidates, level by level.
            is_large: (K,) bool; others are as if they were not there.
            num_per_level: how many candidates each level has.
        """
        settings = self.settings
        survives = suppress(boxlist, is_large, boxlist.labels, boxlist.scores, settings)
        return is_among_best(boxlist.scores, survives, settings.post_nms_top_n)

    def _ordered(self, boxlist: BoxList) -> BoxList:
        return sort_by_score(boxlist) if self.settings.best_first else boxlist


def suppress(
    boxlist: BoxList,
    is_there: Tensor,
    labels: Tensor | None,
    scores: Tensor,
    settings: SelectionSettings,
) -> Tensor:
    """(K,) bool: which boxes survive non-maximum suppression.

    Args:
        boxlist: K boxes of one image.
        is_there: (K,) bool; other boxes neither survive nor suppress.
        labels: (K,), only equal ones suppress each other; None: all compete.
        scores: (K,), which rank the boxes.
        settings: of ``nms_threshold``; a value <= 0 switches the suppression off.
    """
    if settings.nms_threshold <= 0:
        return is_there
    # What is no number overlaps with nothing.
    corners = boxlist.convert("xyxy").bbox.masked_fill(~is_there[:, None], torch.nan)
    keep = nms_mask(corners, scores, labels, settings.nms_threshold, boxlist.pixel_offset)
    return keep & is_there


def _masked(boxlists: Sequence[BoxList], masks: Sequence[Tensor]) -> list[BoxList]:
    """The boxes at the places of masks; one wait for a GPU whatever their number."""
    if len(boxlists) > 1:
        counts = torch.stack([mask.sum() for mask in masks]).tolist()
        inds = torch.cat(list(masks)).nonzero_static(size=sum(counts)).squeeze(1)
    elif boxlists:
        inds = masks[0].nonzero().squeeze(1)
        counts = [len(inds)]
    else:
        return []
    chosen, first = [], 0
    for boxlist, of_image in zip(boxlists, torch.split(inds, counts), strict=True):
        chosen.append(boxlist[of_image - first])
        first += len(boxlist)
    return chosen
