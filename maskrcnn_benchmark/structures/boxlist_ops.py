"""Functions of one or several BoxLists.

Shapes: K boxes, N boxes of the first list, M of the second.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maskrcnn_benchmark.layers import ml_nms, nms
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.predicted_masks import PredictedMasks


def boxlist_nms(
    boxlist: BoxList,
    nms_thresh: float,
    max_proposals: int = -1,
    score_field: str = "scores",
) -> BoxList:
    """The boxes that survive non-maximum suppression, in their original order.

    Args:
        boxlist: K boxes of one image, any mode.
        nms_thresh: a box goes if its IoU with a better one is greater; a value <= 0
            switches the suppression off (and ``max_proposals`` with it, as in the original).
        max_proposals: at most so many of the best survivors; <= 0 keeps all.
        score_field: name of the field that ranks the boxes.
    """
    return _suppress(boxlist, nms_thresh, max_proposals, score_field)


def boxlist_ml_nms(
    boxlist: BoxList,
    nms_thresh: float,
    max_proposals: int = -1,
    score_field: str = "scores",
    label_field: str = "labels",
) -> BoxList:
    """As ``boxlist_nms``, but only boxes of the same class suppress each other.

    The classes are the field ``label_field``; ``max_proposals`` counts over all of them.
    """
    return _suppress(boxlist, nms_thresh, max_proposals, score_field, label_field)


def _suppress(
    boxlist: BoxList,
    nms_thresh: float,
    max_proposals: int,
    score_field: str,
    label_field: str | None = None,
) -> BoxList:
    scores: Tensor = boxlist.get_field(score_field)
    labels = boxlist.get_field(label_field) if label_field else None
    if nms_thresh <= 0:
        return boxlist
    boxes = boxlist.convert("xyxy").bbox
    if labels is None:
        keep = nms(boxes, scores, nms_thresh, boxlist.pixel_offset)
    else:
        keep = ml_nms(boxes, scores, labels, nms_thresh, boxlist.pixel_offset)
    if 0 < max_proposals < keep.numel():
        # UPSTREAM(nms-limit): boxlist_ops.py kept the first indices, which are the best ones only
        # if the boxes come sorted by score. The best are kept here whatever the order.
        best = scores[keep].argsort(descending=True, stable=True)[:max_proposals]
        keep = keep[best].sort().values
    return boxlist[keep]


def remove_small_boxes(boxlist: BoxList, min_size: float) -> BoxList:
    """The boxes whose width and height are both at least ``min_size`` px."""
    return boxlist[has_least_size(boxlist, min_size)]


def has_least_size(boxlist: BoxList, min_size: float) -> Tensor:
    """(K,) bool: which boxes ``remove_small_boxes`` leaves."""
    # UPSTREAM(small-boxes-stay): a box is a pixel wide at least, so that a least size of 0, which
    # all detectors ask for by default, drops nothing, not even what clipping left without extent.
    widths_heights = boxlist.convert("xywh").bbox[:, 2:]
    return (widths_heights >= min_size).all(dim=1)


def boxlist_iou(boxlist1: BoxList, boxlist2: BoxList) -> Tensor:
    """(N, M) intersection over union of every pair; NaN where both are empty.

    Args:
        boxlist1: N boxes, any mode.
        boxlist2: M boxes of an image of the same size, any mode.

    Raises:
        ValueError: the image sizes, or the pixel offsets, differ.
    """
    if boxlist1.size != boxlist2.size:
        raise ValueError(
            f"boxes of images of different size: {boxlist1.size} and {boxlist2.size} (w, h)"
        )
    offset = boxlist1.pixel_offset
    if offset != boxlist2.pixel_offset:
        raise ValueError(
            f"boxes of different pixel offsets: {offset} and {boxlist2.pixel_offset}; see "
            "BoxList.with_pixel_offset"
        )
    first, second = boxlist1.convert("xyxy"), boxlist2.convert("xyxy")
    x1, y1, x2, y2 = (coordinate[:, None] for coordinate in first.bbox.unbind(dim=1))
    # One coordinate at a time: anchors make M large, and a last dimension of two is slow.
    intersection = _overlap(x1, x2, second.bbox[:, 0], second.bbox[:, 2], offset)
    intersection *= _overlap(y1, y2, second.bbox[:, 1], second.bbox[:, 3], offset)
    return intersection / (first.area()[:, None] + second.area() - intersection)


def _overlap(
    start1: Tensor, end1: Tensor, start2: Tensor, end2: Tensor, pixel_offset: int
) -> Tensor:
    """(N, M) lengths that intervals (N, 1) and (M,) have in common."""
    length = torch.minimum(end1, end2) - torch.maximum(start1, start2)
    return (length + pixel_offset).clamp_(min=0)


def cat_boxlist(bboxes: Sequence[BoxList]) -> BoxList:
    """One BoxList with the boxes and fields of all, in order.

    Args:
        bboxes: at least one BoxList, of equal image size, mode, pixel offset and field names.

    Raises:
        ValueError: no BoxList, or image sizes, modes, pixel offsets or field names that differ.
        TypeError: a field that is neither a tensor nor predicted masks, with more than one BoxList.
    """
    if not bboxes:
        raise ValueError("cat_boxlist needs at least one BoxList")
    first = bboxes[0]
    for boxes in bboxes[1:]:
        if boxes.size != first.size or boxes.mode != first.mode:
            raise ValueError(f"cannot concatenate {first} and {boxes}: size or mode differ")
        if boxes.pixel_offset != first.pixel_offset:
            offsets = f"{first.pixel_offset} and {boxes.pixel_offset}"
            raise ValueError(f"cannot concatenate boxes of the pixel offsets {offsets}")
        if set(boxes.fields()) != set(first.fields()):
            raise ValueError(f"cannot concatenate {first} and {boxes}: fields differ")
    joined = BoxList(
        torch.cat([boxes.bbox for boxes in bboxes]),
        first.size,
        first.mode,
        pixel_offset=first.pixel_offset,
    )
    for name in first.fields():
        is_masks = name == "mask"
        parts = [one.predicted_masks if is_masks else one.get_field(name) for one in bboxes]
        joined.add_field(name, _cat_field(name, parts))
    return joined


def _cat_field(name: str, parts: list[Any]) -> Any:  # noqa: ANN401 - a field of any kind
    first, *others = parts
    if not others:
        return first
    kind = Tensor if isinstance(first, Tensor) else type(first)
    if not all(isinstance(part, kind) for part in parts):
        kinds = sorted({type(part).__name__ for part in parts})
        raise TypeError(f"field {name!r} is of several kinds: {kinds}")
    if isinstance(first, PredictedMasks):
        return first.cat(others)
    if not isinstance(first, Tensor):
        raise TypeError(f"field {name!r} is a {type(first).__name__}, not a tensor")
    return torch.cat(parts)
