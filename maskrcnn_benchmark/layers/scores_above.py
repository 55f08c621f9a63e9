"""The few scores of a dense detector that matter, without computing all of them.

Shape symbols: N images, D predictions of a cell, C classes, H x W cells, K scores found.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers._ops import ops_status
from maskrcnn_benchmark.layers.arguments import check_floating, check_shape, check_tensors


class ScoresAbove(NamedTuple):
    """Scores in the order of images, rows, columns, predictions of a cell, classes.

    Attributes:
        images: (K,) int64, of each score.
        locations: (K,) int64: cell times D plus the prediction of the cell, cells row by row.
        classes: (K,) int64 in [0, C).
        scores: (K,) the sigmoids, float64 of float64 and else float32.
    """

    images: Tensor
    locations: Tensor
    classes: Tensor
    scores: Tensor


def scores_above(logits: Tensor, num_classes: int, threshold: float) -> ScoresAbove:
    """The sigmoids of ``logits`` that exceed ``threshold``, and where they are.

    Not differentiable. A score depends on its logit alone. NaN exceeds nothing. Without images,
    cells or classes there are none.

    Args:
        logits: (N, D * C, H, W) floating, in any layout; half precision is computed in float32.
        num_classes: C, which divides the channels.
        threshold: for the type that is computed in, in which it is compared.

    Raises:
        ValueError: wrong shape or type; classes that do not divide the channels.
    """
    _check(logits, num_classes)
    stored = logits.float() if logits.dtype == torch.float16 else logits
    places, scores = torch.ops.centermask.scores_above(stored.detach(), num_classes, threshold)
    images, locations, classes = places.unbind()
    return ScoresAbove(images, locations, classes, scores)


def scores_of_images(
    logits: Sequence[Tensor], num_classes: int, threshold: float
) -> list[list[ScoresAbove]]:
    """Of each level of a pyramid, of each image, what ``scores_above`` finds there.

    It waits for a GPU once, whatever the number of levels and images.

    Args:
        logits: per level (N, D * C, Hi, Wi), of one device and type; at least one level.
        num_classes: C.
        threshold: as of ``scores_above``.

    Raises:
        ValueError: as by ``scores_above``; no level, or another number of images on one of them.
    """
    for level in logits:
        _check(level, num_classes)
    if len({(len(level), level.dtype, level.device) for level in logits}) != 1:
        got = [(tuple(level.shape), level.dtype, level.device) for level in logits]
        raise ValueError(
            f"logits: expected levels of the same images, of one type and device, got {got}"
        )
    find = _find_by_level if _has_kernel(logits[0].device) else _find_at_once
    return find(logits, num_classes, threshold)


def _has_kernel(device: torch.device) -> bool:
    return device.type in ops_status().kernels.get("scores_above", ())


def _find_by_level(
    logits: Sequence[Tensor], num_classes: int, threshold: float
) -> list[list[ScoresAbove]]:
    """What the operator finds, level by level; on a GPU each of them would wait."""
    found = [scores_above(level, num_classes, threshold) for level in logits]
    num_images = len(logits[0])
    if num_images == 1:
        return [[level] for level in found]
    firsts = torch.arange(num_images + 1, device=logits[0].device)
    bounds = torch.stack([torch.searchsorted(level.images, firsts) for level in found]).tolist()
    return [
        [ScoresAbove(*(field[first:last] for field in level)) for first, last in pairwise(of_level)]
        for level, of_level in zip(found, bounds, strict=True)
    ]


def _find_at_once(
    logits: Sequence[Tensor], num_classes: int, threshold: float
) -> list[list[ScoresAbove]]:
    """The same from all scores of all levels, which are counted before they are looked for."""
    precise = torch.promote_types(logits[0].dtype, torch.float32)
    rows = [level.detach().permute(0, 2, 3, 1).flatten(1) for level in logits]
    sizes = [row.shape[1] for row in rows]
    scores = torch.cat(rows, dim=1).to(precise).sigmoid_()
    del rows
    num_scores = sum(sizes)
    is_above = scores > threshold
    counted = torch.stack(
        [level.sum(dim=1) for level in torch.split(is_above, sizes, dim=1)], dim=1
    )
    counts = counted.flatten().tolist()
    places = is_above.flatten().nonzero_static(size=sum(counts)).squeeze(1)
    images, within = places // max(num_scores, 1), places % max(num_scores, 1)
    fields = (images, within // num_classes, within % num_classes, scores.flatten()[places])
    # One piece for each level of the first image, then of the second.
    pieces = [torch.split(field, counts) for field in fields]
    found: list[list[ScoresAbove]] = []
    for level, first in enumerate(accumulate(sizes[:-1], initial=0)):
        of_level = range(level, len(counts), len(sizes))
        parts = [[piece[index] for piece in pieces] for index in of_level]
        found.append(
            [ScoresAbove(i, place - first // num_classes, c, s) for i, place, c, s in parts]
        )
    return found


def _check(logits: Tensor, num_classes: int) -> None:
    check_tensors(logits=logits)
    check_floating(logits=logits)
    check_shape("logits", logits, ("N", "D * C", "H", "W"))
    if num_classes < 1 or logits.shape[1] % num_classes:
        wanted = f"a divisor of {logits.shape[1]}"
        raise ValueError(f"num_classes: expected {wanted}, got {num_classes}")
