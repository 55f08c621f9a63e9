"""The head of TensorMask (arXiv 1903.12174).

Shapes: N images, B channels of the pyramid, A window sizes of a cell, C foreground classes, M
channels of the masks' tower, V cells of a stored window's side, Hi x Wi cells of level i.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.make_layers import init_normal, make_conv, make_tower

_INIT_STD = 0.01


class TensorMaskOutputs(NamedTuple):
    """Raw predictions, one tensor a level, finest first; of filters and biases one a window size.

    Masks are not computed here: there is one for every window. ``WindowReader`` reads some.

    Attributes:
        logits: (N, A * C, Hi, Wi) class scores before the sigmoid.
        deltas: (N, A * 4, Hi, Wi) codes of the boxes relative to their windows.
        mask_maps: (N, M, H0, W0) features of masks; (N, M, Hi, Wi) without the bipyramid.
        filters: (V * V, M) what makes logits of masks of them.
        biases: (V * V,) is added.
    """

    logits: list[Tensor]
    deltas: list[Tensor]
    mask_maps: list[Tensor]
    filters: list[Tensor]
    biases: list[Tensor]


@dataclass(frozen=True, slots=True)
class TensorMaskHeadSettings:
    """Sizes of the head.

    Args:
        in_channels: B.
        num_foreground: C.
        mask_sides: V of each window size.
        factors: for each level the finest map's cells along one of its own.
        num_convs: convolutions of a tower.
        cls_channels, bbox_channels, mask_channels: of the towers.
        prior_prob: class probability at the start.
        bipyramid: masks are predicted at the finest map's resolution on every level.
    """

    in_channels: int
    num_foreground: int
    mask_sides: tuple[int, ...]
    factors: tuple[int, ...]
    num_convs: int = 4
    cls_channels: int = 256
    bbox_channels: int = 128
    mask_channels: int = 128
    prior_prob: float = 0.01
    bipyramid: bool = True


class TensorMaskHead(nn.Module):
    """Three towers, for classes, boxes and masks, shared by all levels."""

    def __init__(self, settings: TensorMaskHeadSettings) -> None:
        super().__init__()
        num_sizes = len(settings.mask_sides)
        init = partial(init_normal, std=_INIT_STD)
        make = partial(make_tower, settings.in_channels, settings.num_convs, std=_INIT_STD)
        self.cls_tower = make(out_channels=settings.cls_channels)
        self.bbox_tower = make(out_channels=settings.bbox_channels)
        self.mask_tower = make(out_channels=settings.mask_channels)
        num_logits = num_sizes * settings.num_foreground
        self.cls_logits = make_conv(settings.cls_channels, num_logits, 3, init=init)
        self.bbox_pred = make_conv(settings.bbox_channels, num_sizes * 4, 3, init=init)
        channels = settings.mask_channels
        self.mask_pred = nn.ModuleDict(
            {str(side): make_conv(channels, side**2, 1, init=init) for side in settings.mask_sides}
        )
        self.mask_fuse = (
            make_conv(channels, channels, 3, relu=True, init=init) if settings.bipyramid else None
        )
        self.factors = settings.factors
        prior = settings.prior_prob
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> TensorMaskOutputs:
        """Predictions on feature maps (N, B, Hi, Wi), finest first."""
        logits = [self.cls_logits(self.cls_tower(feature)) for feature in features]
        deltas = [self.bbox_pred(self.bbox_tower(feature)) for feature in features]
        masks = [self.mask_tower(feature) for feature in features]
        if self.mask_fuse is not None:
            # The finest level is added to itself.
            masks = [
                self.mask_fuse(enlarged(one, factor, masks[0]) + masks[0])
                for one, factor in zip(masks, self.factors, strict=True)
            ]
        layers = [cast(nn.Conv2d, layer) for layer in self.mask_pred.values()]
        filters = [layer.weight.flatten(1) for layer in layers]
        biases = [cast(Tensor, layer.bias) for layer in layers]
        return TensorMaskOutputs(logits, deltas, masks, filters, biases)


def enlarged(coarse: Tensor, factor: int, like: Tensor) -> Tensor:
    """A map with ``factor`` times as many cells a side, bilinear, cut to the sides of ``like``."""
    # UPSTREAM(corner-windows): windows lie around the corners of cells, and these maps around their
    # middles, so that coarse masks are half a cell off.
    if factor == 1:
        return coarse
    large = F.interpolate(coarse, scale_factor=float(factor), mode="bilinear", align_corners=False)
    return large[:, :, : like.shape[2], : like.shape[3]]
