"""Losses of FCOS (arXiv 1904.01355, equation 2, plus centerness of section 3.3).

Shapes: N images, C foreground classes, L locations over all levels, P positive locations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss
from maskrcnn_benchmark.modeling.rpn.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.rpn.fcos.targets import (
    FCOSTargetAssigner,
    compute_centerness_targets,
)
from maskrcnn_benchmark.modeling.rpn.levels import flatten_levels
from maskrcnn_benchmark.structures.bounding_box import BoxList


class FCOSLoss:
    """Classification, box and centerness loss of a batch.

    Args:
        assigner: makes the targets.
        focal_loss: summed sigmoid focal loss.
        iou_loss: box loss, weighted by centerness targets.
        num_foreground: classes C.
    """

    def __init__(
        self,
        *,
        assigner: FCOSTargetAssigner,
        focal_loss: SigmoidFocalLoss,
        iou_loss: IOULoss,
        num_foreground: int,
    ) -> None:
        self.assigner = assigner
        self.focal_loss = focal_loss
        self.iou_loss = iou_loss
        self.num_foreground = num_foreground

    def __call__(
        self, outputs: FCOSOutputs, locations: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        """Scalars `loss_cls`, `loss_reg`, `loss_centerness`.

        Without positives the last two are zeros that keep the graph.

        Classification is divided by (positives + images), both of this process alone.

        Args:
            outputs: predictions of the head.
            locations: per level (Li, 2), px.
            targets: one BoxList an image with the field `labels`.
        """
        labels, target_ltrb = self.assigner(locations, targets)
        logits = flatten_levels(outputs.logits, self.num_foreground).flatten(0, 1)
        positive_inds = torch.nonzero(labels.flatten() > 0).squeeze(1)
        ltrb = flatten_levels(outputs.ltrb, 4).flatten(0, 1)[positive_inds]
        centerness = flatten_levels(outputs.centerness, 1).flatten()[positive_inds]
        target_ltrb = target_ltrb.flatten(0, 1)[positive_inds]

        num_images, num_positives = labels.shape[0], len(positive_inds)
        loss_cls = self.focal_loss(logits, labels.flatten().int()) / (num_positives + num_images)
        centerness_targets = compute_centerness_targets(target_ltrb)
        return {
            "loss_cls": loss_cls,
            "loss_reg": self.iou_loss(ltrb, target_ltrb, centerness_targets),
            "loss_centerness": F.binary_cross_entropy_with_logits(
                centerness, centerness_targets, reduction="sum"
            )
            / max(num_positives, 1),
        }
