"""Random choice of the positives and negatives that a loss looks at.

Shapes: K predictions of one image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class BalancedPositiveNegativeSampler:
    """Draws a fixed number of predictions from each image, a share of them positives.

    Where there are too few positives, negatives fill up; where there are too few negatives, the
    sample is smaller.

    Source: Faster R-CNN (Ren et al. 2015), section 3.1.3.

    Args:
        batch_size_per_image: predictions drawn from an image, >= 0.
        positive_fraction: share of positives among them at most, 0..1.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction

    def __call__(self, matched_idxs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks (K,) bool of the drawn positives, and of the drawn negatives, of each image.

        Random numbers come from the default generator of the device.

        Args:
            matched_idxs: for each image (K,) classes: >= 1 positive, 0 negative, < 0 never drawn.
        """
        masks = [self._sample(labels) for labels in matched_idxs]
        return [positive for positive, _ in masks], [negative for _, negative in masks]

    def _sample(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        positive_inds = torch.nonzero(labels >= 1).squeeze(1)
        negative_inds = torch.nonzero(labels == 0).squeeze(1)
        num_positives = min(
            int(self.batch_size_per_image * self.positive_fraction), len(positive_inds)
        )
        num_negatives = min(self.batch_size_per_image - num_positives, len(negative_inds))
        return (
            _draw(labels, positive_inds, num_positives),
            _draw(labels, negative_inds, num_negatives),
        )


def _draw(labels: Tensor, candidate_inds: Tensor, count: int) -> Tensor:
    """(K,) bool: ``count`` of the candidates, each equally likely."""
    order = torch.randperm(len(candidate_inds), device=candidate_inds.device)
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[candidate_inds[order[:count]]] = True
    return mask
