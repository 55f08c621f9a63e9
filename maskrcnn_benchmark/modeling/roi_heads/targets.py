"""Which proposals the losses of RoI heads look at.

Shapes: K proposals of one image, G its ground truths, P chosen proposals of all images.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.structures.bounding_box import BoxList

IGNORED: Final = -1
"""Label of what a loss does not look at."""


def label_matches(matches: Tensor, truth_labels: Tensor) -> Tensor:
    """(K,) int64 classes: 0 without a ground truth, ``IGNORED`` between the thresholds.

    Args:
        matches: (K,) index of each proposal's ground truth, or the matcher's codes.
        truth_labels: (G,).
    """
    labels = torch.zeros_like(matches)
    labels[matches == Matcher.BETWEEN_THRESHOLDS] = IGNORED
    is_matched = matches >= 0
    labels[is_matched] = truth_labels[matches[is_matched]].to(labels)
    return labels


def batch_indices(chosen: Sequence[Tensor], proposals: Sequence[BoxList]) -> Tensor:
    """(P,) int64 places of the chosen proposals among those of all images.

    Args:
        chosen: for each image the indices of its chosen proposals.
        proposals: all of each image.
    """
    begins = accumulate((len(boxes) for boxes in proposals[:-1]), initial=0)
    return torch.cat([inds + begin for inds, begin in zip(chosen, begins, strict=True)])
