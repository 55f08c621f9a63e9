"""The head of YOLACT (arXiv 1904.02689, section 3; 1912.06218, section 5).

Shapes: N images, F feature channels, A anchors of a cell, C foreground classes, P prototypes, Hi x
Wi cells of level i, h x w cells of the prototypes, K masks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.make_layers import init_xavier_uniform, make_conv

_MASKIOU_CHANNELS = (8, 16, 32, 64, 128)


class YolactOutputs(NamedTuple):
    """Raw predictions, one tensor a level, finest first, where it is a list.

    Attributes:
        codes: (N, A * 4, Hi, Wi) boxes relative to their anchors.
        logits: (N, A * (C + 1), Hi, Wi) class scores before the softmax; the first is background.
        coefficients: (N, A * P, Hi, Wi) in [-1, 1].
        prototypes: (N, P, h, w) >= 0.
        finest: (N, F, H0, W0) the finest map itself, for the losses.
    """

    codes: list[Tensor]
    logits: list[Tensor]
    coefficients: list[Tensor]
    prototypes: Tensor
    finest: Tensor


class Protonet(nn.Module):
    """Prototypes of twice the size of the finest map (section 3.1)."""

    def __init__(self, *, in_channels: int, num_prototypes: int) -> None:
        super().__init__()
        before = [
            make_conv(in_channels, in_channels, 3, relu=True, init=init_xavier_uniform)
            for _ in range(3)
        ]
        self.before = nn.Sequential(*before)
        self.after = make_conv(in_channels, in_channels, 3, relu=True, init=init_xavier_uniform)
        self.last = make_conv(in_channels, num_prototypes, 1, relu=True, init=init_xavier_uniform)

    def forward(self, finest: Tensor) -> Tensor:
        """(N, P, 2 * H0, 2 * W0) of the map (N, F, H0, W0)."""
        x = self.before(finest)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        prototypes: Tensor = self.last(self.after(x))
        return prototypes


class MaskIoUNet(nn.Module):
    """The IoU of a mask with the truth, for every class it might be of (YOLACT++, section 5.1)."""

    def __init__(self, *, num_foreground: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in _MASKIOU_CHANNELS:
            layers += [nn.Conv2d(channels, width, 3, stride=2), nn.ReLU(inplace=True)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.maskiou_pred = nn.Conv2d(channels, num_foreground, 1)
        for layer in (*layers, self.maskiou_pred):
            if isinstance(layer, nn.Conv2d):
                init_xavier_uniform(layer)

    def forward(self, masks: Tensor) -> Tensor:
        """(K, C) of cropped probabilities (K, h, w), K may be 0.

        Raises:
            ValueError: maps of fewer than 63 cells a side, of which nothing would be left.
        """
        if min(masks.shape[-2:]) < 2 ** (len(_MASKIOU_CHANNELS) + 1) - 1:
            raise ValueError(
                "MODEL.DENSE.SETTINGS.MASKIOU_ON: expected prototypes of at least 63 x 63 cells, "
                f"got {tuple(masks.shape[-2:])}; take larger images"
            )
        ious = torch.relu(self.maskiou_pred(self.layers(masks[:, None])))
        return ious.flatten(2).max(dim=2).values


class YolactHead(nn.Module):
    """What predicts on whole maps.

    Args:
        in_channels: F.
        num_anchors: A.
        num_foreground: C.
        num_prototypes: P.

    Attributes:
        semantic: finest map -> (N, C, H0, W0) logits of what lies where; for the losses alone.
    """

    def __init__(
        self, *, in_channels: int, num_anchors: int, num_foreground: int, num_prototypes: int
    ) -> None:
        super().__init__()
        self.num_prototypes = num_prototypes
        self.protonet = Protonet(in_channels=in_channels, num_prototypes=num_prototypes)
        self.shared = make_conv(in_channels, in_channels, 3, relu=True, init=init_xavier_uniform)
        self.bbox_pred = self._output(in_channels, num_anchors * 4)
        self.conf_pred = self._output(in_channels, num_anchors * (num_foreground + 1))
        self.mask_pred = self._output(in_channels, num_anchors * num_prototypes)
        self.semantic = make_conv(in_channels, num_foreground, 1, init=init_xavier_uniform)

    @staticmethod
    def _output(in_channels: int, out_channels: int) -> nn.Module:
        return make_conv(in_channels, out_channels, 3, init=init_xavier_uniform)

    def forward(self, features: Sequence[Tensor]) -> YolactOutputs:
        """Predictions on feature maps (N, F, Hi, Wi), finest first."""
        shared = [self.shared(feature) for feature in features]
        return YolactOutputs(
            codes=[self.bbox_pred(x) for x in shared],
            logits=[self.conf_pred(x) for x in shared],
            coefficients=[torch.tanh(self.mask_pred(x)) for x in shared],
            prototypes=self.protonet(features[0]),
            finest=features[0],
        )
