"""Losses of FCOS (arXiv 1904.01355, equation 2, plus centerness of section 3.3).

Shapes: N images, C foreground classes, L locations over all levels, P positive locations.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn_benchmark.config.convention import DivisorRule
from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss, mean_over_processes
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.targets import (
    FCOSTargetAssigner,
    compute_centerness_targets,
)
from maskrcnn_benchmark.modeling.dense.levels import flatten_level
from maskrcnn_benchmark.structures.bounding_box import BoxList

_MIN_WEIGHT: Final = 1e-6


def _level_by_level(per_level: Sequence[Tensor], width: int) -> Tensor:
    """(N * L, width) from maps of every level, in the order of the targets."""
    return torch.cat([flatten_level(level, width).flatten(0, 1) for level in per_level])


class Divisors(NamedTuple):
    """What the summed losses of a batch are divided by.

    Attributes:
        classes: of the classification loss.
        boxes: of the box loss; None: the sum of its weights.
        centerness: of the centerness loss.
    """

    classes: float
    boxes: float | None
    centerness: float


def own_divisors(num_images: int, weights: Tensor) -> Divisors:
    """Those of this process alone; positives and images share the classification loss.

    Args:
        num_images: of the batch.
        weights: (P,) of the positives in the box loss.
    """
    return Divisors(max(len(weights) + num_images, 1), None, max(len(weights), 1))


def mean_divisors(num_images: int, weights: Tensor) -> Divisors:  # noqa: ARG001 - of the other rule
    """Means over all processes, at least 1 positive and a weight of 1e-6 (CenterMask2).

    Arguments as for ``own_divisors``.
    """
    here = torch.stack([weights.new_tensor(float(len(weights))), weights.detach().sum()])
    positives, weight = mean_over_processes(here).tolist()
    return Divisors(max(positives, 1.0), max(weight, _MIN_WEIGHT), max(positives, 1.0))


DIVISORS: Mapping[DivisorRule, Callable[[int, Tensor], Divisors]] = MappingProxyType(
    {"own": own_divisors, "mean": mean_divisors}
)


class FCOSLoss:
    """Classification, box and centerness loss of a batch.

    Args:
        assigner: makes the targets.
        focal_loss: summed sigmoid focal loss.
        iou_loss: box loss, weighted by centerness targets.
        num_foreground: classes C.
        units: px of the unit in which the boxes of each level are compared; None: 1 px on all.
        divisors: what the sums are divided by, as ``own_divisors``.
    """

    def __init__(
        self,
        *,
        assigner: FCOSTargetAssigner,
        focal_loss: SigmoidFocalLoss,
        iou_loss: IOULoss,
        num_foreground: int,
        units: Sequence[float] | None = None,
        divisors: Callable[[int, Tensor], Divisors] = own_divisors,
    ) -> None:
        self.assigner = assigner
        self.focal_loss = focal_loss
        self.iou_loss = iou_loss
        self.num_foreground = num_foreground
        self.units = units
        self.divisors = divisors

    def __call__(
        self, outputs: FCOSOutputs, locations: Sequence[Tensor], targets: Sequence[BoxList]
    ) -> dict[str, Tensor]:
        """Scalars ``loss_cls``, ``loss_reg``, ``loss_centerness``.

        Without positives the last two are zeros that keep the graph.

        Args:
            outputs: predictions of the head.
            locations: per level (Li, 2), px.
            targets: one BoxList an image with the field ``labels``.
        """
        labels, all_ltrb = self.assigner(locations, targets)
        positive_inds = torch.nonzero(labels > 0).squeeze(1)
        units = self._unit_of_each(locations, len(targets))[positive_inds]
        target_ltrb = all_ltrb[positive_inds] / units
        logits = _level_by_level(outputs.logits, self.num_foreground)
        ltrb = _level_by_level(outputs.ltrb, 4)[positive_inds] / units
        centerness = _level_by_level(outputs.centerness, 1).flatten()[positive_inds]

        centerness_targets = compute_centerness_targets(target_ltrb)
        divisors = self.divisors(len(targets), centerness_targets)
        return {
            "loss_cls": self.focal_loss(logits, labels.int()) / divisors.classes,
            "loss_reg": self.iou_loss(ltrb, target_ltrb, centerness_targets, divisors.boxes),
            "loss_centerness": F.binary_cross_entropy_with_logits(
                centerness, centerness_targets, reduction="sum"
            )
            / divisors.centerness,
        }

    def _unit_of_each(self, locations: Sequence[Tensor], num_images: int) -> Tensor:
        """(N * L, 1) px of the unit at every location, in the order of the targets."""
        units = self.units or (1.0,) * len(locations)
        return torch.cat(
            [
                points.new_full((num_images * len(points), 1), unit)
                for points, unit in zip(locations, units, strict=True)
            ]
        )
