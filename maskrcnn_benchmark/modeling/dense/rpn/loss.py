"""Losses of the region proposal network (Faster R-CNN, Ren et al. 2015, section 3.1.2).

Shapes: N images, L anchors over all levels, S sampled anchors of the batch.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import is_inside
from maskrcnn_benchmark.modeling.dense.anchor_targets import encode_matched, match_anchors
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.targets import IGNORED, batch_indices, label_matches
from maskrcnn_benchmark.structures.bounding_box import BoxList

_SMOOTH_L1_BETA: Final = 1 / 9
"""Source: Detectron; 1 / sigma^2 with the sigma 3 of Faster R-CNN's code."""


class RPNLoss:
    """Objectness and box loss of a batch.

    Args:
        matcher: IoUs of ground truths and anchors -> index of each anchor's ground truth.
        sampler: draws the anchors that count.
        coder: encodes ground truths relative to anchors.
        straddle_thresh: px by which anchors that count may stick out of the image; negative: all
            count.
        beta: of ``smooth_l1_loss``.
        num_wanted: anchors of an image by which losses are divided; None: those sampled.
    """

    def __init__(
        self,
        *,
        matcher: Matcher,
        sampler: BalancedPositiveNegativeSampler,
        coder: BoxCoder,
        straddle_thresh: float,
        beta: float = _SMOOTH_L1_BETA,
        num_wanted: int | None = None,
    ) -> None:
        self.matcher = matcher
        self.sampler = sampler
        self.coder = coder
        self.straddle_thresh = straddle_thresh
        self.beta = beta
        self.num_wanted = num_wanted

    def __call__(
        self,
        outputs: RPNOutputs,
        anchors: Sequence[Tensor],
        targets: Sequence[BoxList],
    ) -> dict[str, Tensor]:
        """Scalars ``loss_objectness`` and ``loss_rpn_box_reg``, over the number of anchors.

        Where nothing is sampled, or nothing positive, they are zeros that keep the graph.

        Args:
            outputs: predictions of the head.
            anchors: per level (Li, 4).
            targets: one BoxList an image, px of the resized image.
        """
        all_anchors = torch.cat(list(anchors))
        matches = match_anchors(all_anchors, targets, self.matcher)
        labels = self._labels(matches, all_anchors, targets)
        positive_masks, negative_masks = self.sampler(labels)
        positives = [torch.nonzero(mask).squeeze(1) for mask in positive_masks]
        codes = encode_matched(self.coder, all_anchors, targets, matches, positives)

        positive_inds = batch_indices(positive_masks, all_anchors.device)
        negative_inds = batch_indices(negative_masks, all_anchors.device)
        sampled_inds = torch.cat([positive_inds, negative_inds])
        logits = flatten_levels(outputs.logits, 1).flatten()[sampled_inds]
        deltas = flatten_levels(outputs.deltas, 4).flatten(0, 1)[positive_inds]
        is_positive = torch.zeros_like(logits)
        is_positive[: len(positive_inds)] = 1
        num_anchors = max(len(sampled_inds), 1)
        if self.num_wanted is not None:
            num_anchors = max(self.num_wanted * len(targets), 1)
        loss_objectness = F.binary_cross_entropy_with_logits(logits, is_positive, reduction="sum")
        loss_box = smooth_l1_loss(deltas, codes.to(deltas), beta=self.beta, size_average=False)
        return {
            "loss_objectness": loss_objectness / num_anchors,
            "loss_rpn_box_reg": loss_box / num_anchors,
        }

    def _labels(
        self, matches: Sequence[Tensor], anchors: Tensor, targets: Sequence[BoxList]
    ) -> list[Tensor]:
        """For each image (L,) int64: 1 for an object, 0 for none, or ``IGNORED``."""
        labels = []
        for match, target in zip(matches, targets, strict=True):
            width, height = target.size
            label = label_matches(match, match.new_ones(len(target)))
            inside = is_inside(anchors, (height, width), self.straddle_thresh)
            labels.append(label.masked_fill(~inside, IGNORED))
        return labels
