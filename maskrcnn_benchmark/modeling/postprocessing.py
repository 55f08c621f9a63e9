"""Selection steps shared by all detectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import cat_boxlist


def keep_best(boxlist: BoxList, limit: int) -> BoxList:
    """The boxes whose ``scores`` reach the limit-th best one, in their order.

    Ties with that score are kept, so there may be more than ``limit``; a limit of 0 keeps all.
    """
    if limit <= 0 or len(boxlist) <= limit:
        return boxlist
    scores = boxlist.get_field("scores")
    # UPSTREAM(ties-at-the-limit): the original compares with the limit-th score too.
    lowest = scores.topk(limit).values[-1]
    return boxlist[torch.nonzero(scores >= lowest).squeeze(1)]


def is_among_best(scores: Tensor, is_there: Tensor, limit: int) -> Tensor:
    """(K,) bool: what ``keep_best`` keeps of the boxes that are there, without waiting for a GPU.

    Args:
        scores: (K,).
        is_there: (K,) bool.
        limit: as of ``keep_best``.
    """
    if limit <= 0 or len(scores) <= limit:
        return is_there
    # UPSTREAM(ties-at-the-limit): as in ``keep_best``.
    lowest = scores.masked_fill(~is_there, -torch.inf).topk(limit).values[-1]
    return is_there & ((scores >= lowest) | (is_there.sum() <= limit))


def sort_by_score(boxlist: BoxList) -> BoxList:
    """The same boxes by descending ``scores``; equal ones in their order."""
    return boxlist[boxlist.scores.argsort(descending=True, stable=True)]


def clip_detections(boxlist: BoxList) -> BoxList:
    """The detections clipped to their image, without those of which nothing lies in it.

    Masks that lie in the boxes themselves are squeezed into what is left of these.
    """
    clipped = boxlist.clip_to_image(remove_empty=False)
    if boxlist.has_field("mask"):
        # Masks inside the boxes are a bare tensor, which belongs to whatever boxes it is given.
        clipped.add_field("mask", boxlist.get_field("mask"))
    return clipped.clip_to_image(remove_empty=True)


def append_ground_truth(proposals: Sequence[BoxList], targets: Sequence[BoxList]) -> list[BoxList]:
    """Proposals of each image followed by its ground-truth boxes, with score 1.

    Args:
        proposals: one BoxList an image, with ``labels`` and ``scores``, or with ``objectness``
            alone; other fields are dropped.
        targets: ground truth of each image, with ``labels`` where the proposals have them.
    """
    result = []
    for boxes, target in zip(proposals, targets, strict=True):
        labels, score = (["labels"], "scores") if boxes.has_field("labels") else ([], "objectness")
        truth = target.convert("xyxy").copy_with_fields(labels)
        truth.add_field(score, torch.ones_like(truth.bbox[:, 0]))
        result.append(cat_boxlist([boxes.copy_with_fields([*labels, score]), truth]))
    return result
