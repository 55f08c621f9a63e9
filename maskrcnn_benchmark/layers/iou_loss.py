"""Losses of the overlap of predicted and target boxes that share a location.

Shape symbols: K locations.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.arguments import ShowsArguments

LocLossType = Literal["iou", "linear_iou", "giou"]
"""-log IoU, 1 - IoU, 1 - generalised IoU."""

# Smoothing of the original: +1 px^2 in intersection and union, 1e-7 in the enclosing box.
_AREA_SMOOTHING = 1.0
_ENCLOSING_EPS = 1e-7


def _area(ltrb: Tensor) -> Tensor:
    left, top, right, bottom = ltrb.unbind(dim=-1)
    return (left + right) * (top + bottom)


class IOULoss(ShowsArguments):
    """Mean IoU loss of boxes given as distances from a common location to the four sides.

    Args:
        loc_loss_type: "iou" for -log IoU, "linear_iou" for 1 - IoU, "giou" for 1 - GIoU.
        enclosing_eps: added to the area of the enclosing box of GIoU; without it two empty boxes
            make NaN.

    Raises:
        ValueError: another loss type.

    Source: UnitBox (Yu et al. 2016) for "iou"; Generalized IoU (Rezatofighi et al. 2019); the
    smoothing terms are those of FCOS.
    """

    def __init__(
        self, loc_loss_type: LocLossType, *, enclosing_eps: float = _ENCLOSING_EPS
    ) -> None:
        super().__init__()
        if loc_loss_type not in get_args(LocLossType):
            known = ", ".join(get_args(LocLossType))
            raise ValueError(f"loc_loss_type: expected one of {known}, got {loc_loss_type!r}")
        self.loc_loss_type = loc_loss_type
        self.enclosing_eps = enclosing_eps

    def forward(
        self,
        pred_ltrb: Tensor,
        target_ltrb: Tensor,
        weight: Tensor | None = None,
        divisor: float | None = None,
    ) -> Tensor:
        """Weighted mean of the losses of all locations, a scalar float32 (or float64).

        Args:
            pred_ltrb: (K, 4) distances left, top, right, bottom, px, >= 0.
            target_ltrb: (K, 4) likewise.
            weight: (K,) >= 0, or None for equal weights.
            divisor: of the weighted sum, > 0; None: the sum of the weights.

        Returns:
            sum(weight * loss) / divisor; 0, tied to the graph, without locations.
        """
        # Squares of sides leave the range of half precision.
        precise = torch.promote_types(pred_ltrb.dtype, torch.float32)
        losses = self._losses(pred_ltrb.to(precise), target_ltrb.to(precise))
        mean = losses.sum() / max(losses.numel(), 1)
        if weight is None:
            return mean
        if divisor is not None:
            return (losses * weight).sum() / divisor
        total = weight.to(precise).sum()
        # UPSTREAM(iou-loss-zero-weights): weights that are all zero mean equal weights.
        weighted = (losses * weight).sum() / torch.where(total > 0, total, 1.0)
        return torch.where(total > 0, weighted, mean)

    def _losses(self, pred: Tensor, target: Tensor) -> Tensor:
        common = torch.minimum(pred, target)
        intersection = _area(common)
        union = _area(target) + _area(pred) - intersection
        iou = (intersection + _AREA_SMOOTHING) / (union + _AREA_SMOOTHING)
        if self.loc_loss_type == "iou":
            return -iou.log()
        if self.loc_loss_type == "linear_iou":
            return 1 - iou
        enclosing = _area(torch.maximum(pred, target)) + self.enclosing_eps
        return 1 - (iou - (enclosing - union) / enclosing)
