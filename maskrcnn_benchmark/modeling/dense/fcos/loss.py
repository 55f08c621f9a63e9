"""Losses of FCOS (arXiv 1904.01355, equation 2, plus centerness of section 3.3).

Shapes: N images, C foreground classes, L locations over all levels, P positive locations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.targets import (
    FCOSTargetAssigner,
    compute_centerness_targets,
)
from maskrcnn_benchmark.modeling.dense.levels import flatten_level
from maskrcnn_benchmark.structures.bounding_box import BoxList


def _level_by_level(per_level: Sequence[Tensor], width: int) -> Tensor:
    """(N * L, width) from maps of every level, in the order of the targets."""
    return torch.cat([flatten_level(level, width).flatten(0, 1) for level in per_level])


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
        """Scalars ``loss_cls``, ``loss_reg``, ``loss_centerness``.

        Without positives the last two are zeros that keep the graph.

        Classification is divided by (positives + images), both of this process alone.

        Args:
            outputs: predictions of the head.
            locations: per level (Li, 2), px.
            targets: one BoxList an image with the field ``labels``.
        """
        labels, all_ltrb = self.assigner(locations, targets)
        positive_inds = torch.nonzero(labels > 0).squeeze(1)
        target_ltrb = all_ltrb[positive_inds]
        logits = _level_by_level(outputs.logits, self.num_foreground)
        ltrb = _level_by_level(outputs.ltrb, 4)[positive_inds]
        centerness = _level_by_level(outputs.centerness, 1).flatten()[positive_inds]

        num_images, num_positives = len(targets), len(positive_inds)
        loss_cls = self.focal_loss(logits, labels.int()) / (num_positives + num_images)
        centerness_targets = compute_centerness_targets(target_ltrb)
        return {
            "loss_cls": loss_cls,
            "loss_reg": self.iou_loss(ltrb, target_ltrb, centerness_targets),
            "loss_centerness": F.binary_cross_entropy_with_logits(
                centerness, centerness_targets, reduction="sum"
            )
            / max(num_positives, 1),
        }
