"""Losses of RetinaNet (arXiv 1708.02002, sections 3 and 4.1).

Shapes: N images, L anchors over all levels, C foreground classes, P positive anchors.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers import SigmoidFocalLoss
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_targets import encode_matched, match_anchors
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetOutputs
from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.targets import batch_indices, label_matches
from maskrcnn_benchmark.structures.bounding_box import BoxList


class RetinaNetLoss(nn.Module):
    """Classification and box loss of a batch.

    Args:
        matcher: IoUs of ground truths and anchors -> index of each anchor's ground truth.
        coder: encodes ground truths relative to anchors.
        focal_loss: summed sigmoid focal loss.
        box_loss: (predicted codes, true codes), both (P, 4) -> their summed loss. If it is a
            module, its buffers belong to the model.
        box_divisor: the box loss is divided by this and the number of positives.
        num_foreground: classes C.
    """

    def __init__(
        self,
        *,
        matcher: Matcher,
        coder: BoxCoder,
        focal_loss: SigmoidFocalLoss,
        box_loss: Callable[[Tensor, Tensor], Tensor],
        box_divisor: float,
        num_foreground: int,
    ) -> None:
        super().__init__()
        self.matcher = matcher
        self.coder = coder
        self.focal_loss = focal_loss
        self.box_loss = box_loss
        self.box_divisor = box_divisor
        self.num_foreground = num_foreground

    def forward(
        self, outputs: RetinaNetOutputs, anchors: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        """Scalars ``loss_retina_cls`` and ``loss_retina_reg``.

        Classification is divided by (positives + images), boxes by (positives * ``box_divisor``),
        both of this process alone. Without positives the box loss is a zero that keeps the graph.

        Args:
            outputs: predictions of the head.
            anchors: per level (Li, 4).
            targets: one BoxList an image with the field ``labels``.
        """
        all_anchors = torch.cat(list(anchors))
        matches = match_anchors(all_anchors, targets, self.matcher)
        # UPSTREAM(all-anchors): the original reads STRADDLE_THRESH, but then trains on all anchors.
        labels = [
            label_matches(match, target.get_field("labels"))
            for match, target in zip(matches, targets, strict=True)
        ]
        is_positive = [label > 0 for label in labels]
        positives = [torch.nonzero(mask).squeeze(1) for mask in is_positive]
        codes = encode_matched(self.coder, all_anchors, targets, matches, positives)
        positive_inds = batch_indices(is_positive, all_anchors.device)
        all_labels = torch.cat([positive_inds.new_zeros(0), *labels])

        logits = flatten_levels(outputs.logits, self.num_foreground).flatten(0, 1)
        deltas = flatten_levels(outputs.deltas, 4).flatten(0, 1)[positive_inds]
        num_positives, num_images = len(positive_inds), len(targets)
        box_loss = self.box_loss(deltas, codes.to(deltas))
        return {
            "loss_retina_cls": self.focal_loss(logits, all_labels)
            / max(num_positives + num_images, 1),
            "loss_retina_reg": box_loss / max(num_positives * self.box_divisor, 1),
        }
