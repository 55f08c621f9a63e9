"""Assignment of ground truths to predictions by a quality such as the IoU.

Shapes: G ground truths, K predictions.
"""

from collections.abc import Callable, Iterable
from typing import Final

import torch
from torch import Tensor


class Matcher:
    """Gives each prediction the ground truth of highest quality, or none.

    Source: Faster R-CNN (Ren et al. 2015), section 3.1.2.

    Args:
        high_threshold: quality at or above which the best ground truth is taken.
        low_threshold: quality below which a prediction is a negative; what lies between the two is
            to be ignored. At most ``high_threshold``.
        allow_low_quality_matches: also give each ground truth's best predictions (all ties) a
            match, whatever their quality.
        low_quality_threshold: quality that those best predictions must at least have.

    Raises:
        ValueError: ``low_threshold`` above ``high_threshold``.
    """

    BELOW_LOW_THRESHOLD: Final = -1
    BETWEEN_THRESHOLDS: Final = -2

    def __init__(
        self,
        high_threshold: float,
        low_threshold: float,
        allow_low_quality_matches: bool = False,
        low_quality_threshold: float = 0.0,
    ) -> None:
        if low_threshold > high_threshold:
            raise ValueError(
                f"low_threshold must be at most high_threshold, not {low_threshold} and "
                f"{high_threshold}"
            )
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches
        self.low_quality_threshold = low_quality_threshold

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """(K,) int64 index of each prediction's ground truth, or a negative code.

        Args:
            match_quality_matrix: (G, K) qualities >= 0; with G = 0 every prediction is a negative.

        Returns:
            The index in [0, G); ``BELOW_LOW_THRESHOLD`` (-1) for a negative;
            ``BETWEEN_THRESHOLDS`` (-2) for a prediction to ignore. Of equal qualities the first
            ground truth wins.
        """
        return self.match_parts(lambda: (match_quality_matrix,))

    def match_parts(self, make_parts: Callable[[], Iterable[Tensor]]) -> Tensor:
        """What a call with all parts side by side returns, of which one need exist at a time.

        Args:
            make_parts: gives one or more matrices (G, Ki), the same whenever it is called.
        """
        of_predictions, of_gts = [], []
        for part in make_parts():
            of_predictions.append(_highest(part, dim=0))
            of_gts.append(_highest(part, dim=1)[0])
        quality, best_gt = (torch.cat(values) for values in zip(*of_predictions, strict=True))
        matches = best_gt.masked_fill(quality < self.high_threshold, self.BETWEEN_THRESHOLDS)
        matches = matches.masked_fill(quality < self.low_threshold, self.BELOW_LOW_THRESHOLD)
        if self.allow_low_quality_matches:
            best_quality = torch.stack(of_gts).amax(dim=0)[:, None]
            is_best = [
                _is_best(part, best_quality, self.low_quality_threshold) for part in make_parts()
            ]
            matches = torch.where(torch.cat(is_best), best_gt, matches)
        return matches


def _highest(matrix: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Maxima along ``dim`` and their indices; -1, below every quality, and 0 of an empty one."""
    if matrix.shape[dim] > 0:
        values, indices = matrix.max(dim)
        return values, indices
    others = matrix.shape[1 - dim]
    return matrix.new_full((others,), -1.0), matrix.new_zeros(others, dtype=torch.int64)


def _is_best(match_quality_matrix: Tensor, best_quality: Tensor, threshold: float) -> Tensor:
    """(K,) bool: predictions of at least that quality that none beats on some ground truth.

    Such a prediction gets *its own* best ground truth, which may be another one.
    """
    # UPSTREAM(gt-without-overlap): matcher.py took a ground truth that overlaps nothing as tied
    # with every prediction of quality 0, and so made positives of all of them. It gets no match
    # here.
    is_found = (best_quality > 0) & (best_quality >= threshold)
    is_best = (match_quality_matrix == best_quality) & is_found
    return is_best.any(dim=0)
