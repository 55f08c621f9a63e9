"""Targets and losses of the box head (Fast R-CNN, arXiv 1504.08083, sections 2.3 and 3).

Shapes: K proposals of one image, R sampled proposals of all images, C classes with background, B
sets of box offsets: C, or 2 where all foreground classes share the last one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import smooth_l1_loss
from maskrcnn_benchmark.modeling.balanced_positive_negative_sampler import (
    BalancedPositiveNegativeSampler,
)
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.targets import cat_images, label_matches
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou

_SMOOTH_L1_BETA = 1.0


class BoxTargets(NamedTuple):
    """The proposals that a loss looks at and what it wants of them.

    Attributes:
        proposals: the sampled ones of each image, with the field ``labels``.
        labels: (R,) int64 classes over all images, 0 = background.
        box_codes: (R, 4) offsets to the matched ground truth; without meaning on background.
    """

    proposals: list[BoxList]
    labels: Tensor
    box_codes: Tensor


class BoxTargetAssigner:
    """Matches proposals with ground truths and draws a sample of them.

    Args:
        matcher: (G, K) IoUs -> index of each proposal's ground truth, negative without one.
        sampler: labels of the images -> masks of drawn positives and negatives.
        box_coder: encodes a ground truth relative to its proposal.
    """

    def __init__(
        self, *, matcher: Matcher, sampler: BalancedPositiveNegativeSampler, box_coder: BoxCoder
    ) -> None:
        self.matcher = matcher
        self.sampler = sampler
        self.box_coder = box_coder

    @torch.no_grad()
    def __call__(
        self,
        proposals: Sequence[BoxList],
        targets: Sequence[BoxList],
        device: torch.device | None = None,
    ) -> BoxTargets:
        """Targets of a random sample of the proposals of each image.

        Args:
            proposals: one BoxList an image, px of the resized image.
            targets: one BoxList an image with the field ``labels``.
            device: of the result where there are no images; None: the CPU.
        """
        matched = [self._match(*pair) for pair in zip(proposals, targets, strict=True)]
        positives, negatives = self.sampler([labels for labels, _ in matched])
        sampled, codes = [], []
        for boxes, (labels, image_codes), positive, negative in zip(
            proposals, matched, positives, negatives, strict=True
        ):
            inds = torch.nonzero(positive | negative).squeeze(1)
            drawn = boxes[inds].copy_with_fields([])
            drawn.add_field("labels", labels[inds])
            sampled.append(drawn)
            codes.append(image_codes[inds])
        return BoxTargets(
            proposals=sampled,
            labels=cat_images(
                [boxes.get_field("labels") for boxes in sampled],
                torch.zeros(0, dtype=torch.int64, device=device),
            ),
            box_codes=cat_images(codes, torch.zeros((0, 4), device=device)),
        )

    def _match(self, proposals: BoxList, target: BoxList) -> tuple[Tensor, Tensor]:
        """Labels (K,), -1 where a proposal is ignored, and offsets (K, 4)."""
        matches = self.matcher(boxlist_iou(target, proposals))
        codes = torch.zeros_like(proposals.bbox)
        is_matched = matches >= 0
        codes[is_matched] = self.box_coder.encode(
            target.convert("xyxy").bbox[matches[is_matched]],
            proposals.convert("xyxy").bbox[is_matched],
        )
        return label_matches(matches, target.get_field("labels")), codes


def box_losses(
    class_logits: Tensor,
    box_regression: Tensor,
    targets: BoxTargets,
    *,
    beta: float = _SMOOTH_L1_BETA,
) -> dict[str, Tensor]:
    """``loss_classifier`` and ``loss_box_reg``; zeros tied to the graph without rois.

    Both are means over all sampled proposals, although only the positives have a box loss.

    Args:
        class_logits: (R, C).
        box_regression: (R, 4 * B) offsets.
        targets: what they should be.
        beta: of ``smooth_l1_loss``.
    """
    num_rois = max(len(targets.labels), 1)
    classification = F.cross_entropy(class_logits, targets.labels, reduction="sum") / num_rois
    box_sets = box_regression.view(len(box_regression), box_regression.shape[1] // 4, 4)
    positive_inds = torch.nonzero(targets.labels > 0).squeeze(1)
    set_inds = targets.labels[positive_inds].clamp(max=box_sets.shape[1] - 1)
    regression = smooth_l1_loss(
        box_sets[positive_inds, set_inds],
        targets.box_codes[positive_inds],
        beta=beta,
        size_average=False,
    )
    return {"loss_classifier": classification, "loss_box_reg": regression / num_rois}
