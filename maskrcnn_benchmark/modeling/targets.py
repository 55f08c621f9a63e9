"""Which boxes (anchors or proposals) losses look at.

Shapes: K boxes of one image, G its ground truths, P chosen boxes of all images.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from maskrcnn_benchmark.modeling.matcher import Matcher

IGNORED: Final = -1
"""Label of what a loss does not look at."""


def label_matches(matches: Tensor, truth_labels: Tensor) -> Tensor:
    """(K,) int64 classes: 0 without a ground truth, ``IGNORED`` between the thresholds.

    Args:
        matches: (K,) index of each box's ground truth, or the matcher's codes.
        truth_labels: (G,).
    """
    labels = torch.zeros_like(matches)
    labels[matches == Matcher.BETWEEN_THRESHOLDS] = IGNORED
    is_matched = matches >= 0
    labels[is_matched] = truth_labels[matches[is_matched]].to(labels)
    return labels


def cat_images(per_image: Sequence[Tensor], none: Tensor) -> Tensor:
    """(P, ...) values of all images in their order; ``none`` (0, ...) if there are no images."""
    return torch.cat(list(per_image) or [none])


def batch_indices(is_chosen: Sequence[Tensor], device: torch.device) -> Tensor:
    """(P,) int64 places, among the boxes of all images, of those that (K,) bool of each choose."""
    none = torch.zeros(0, dtype=torch.bool, device=device)
    return torch.cat([none, *is_chosen]).nonzero().squeeze(1)
