"""The last layers of the mask head.

Shapes: R rois, D input channels, E hidden channels, M side of the resulting mask, C classes with
background.
"""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.layers import ConvTranspose2d, cell_conv, makes_patches, place_patches
from maskrcnn_benchmark.modeling.make_layers import init_kaiming_normal, init_normal
from maskrcnn_benchmark.modeling.registry import ROI_MASK_PREDICTOR


class MaskRCNNC4Predictor(nn.Module):
    """A 2x2 stride-2 transposed convolution, ReLU and a 1x1 convolution to one map a class.

    Args:
        in_channels: D.
        hidden_channels: E, channels between the two layers.
        num_classes: C.
        logits_std: standard deviation of the last layer's weights at the start; 0 takes the
            original's Kaiming initialisation, whose logits are so large that the first steps can
            switch the head off (see docs/training.md).
    """

    def __init__(
        self, *, in_channels: int, hidden_channels: int, num_classes: int, logits_std: float = 0.0
    ) -> None:
        super().__init__()
        self.conv5_mask = ConvTranspose2d(in_channels, hidden_channels, 2, 2, 0)
        self.mask_fcn_logits = nn.Conv2d(hidden_channels, num_classes, 1)
        init_kaiming_normal(self.conv5_mask)
        if logits_std > 0:
            init_normal(self.mask_fcn_logits, logits_std)
        else:
            init_kaiming_normal(self.mask_fcn_logits)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Mask logits (R, M, M) of each roi's own class.

        Args:
            features: (R, D, M / 2, M / 2).
            labels: (R,) int64 in [0, C); None gives the maps of all classes, (R, C, M, M).
        """
        return _class_logits(self.mask_fcn_logits, self.conv5_mask(features).relu_(), labels)

    def folded(self) -> nn.Module:
        """The same for evaluation, which puts in place no hidden channels but their products.

        Itself where another upsampling was put in.
        """
        conv = self.conv5_mask
        makes_them = isinstance(conv, ConvTranspose2d) and makes_patches(conv)
        return FoldedMaskPredictor(self) if makes_them else self


class FoldedMaskPredictor(nn.Module):
    """``MaskRCNNC4Predictor`` that multiplies where a cell's numbers lie, and places the results.

    Of the hidden map, which is never put together, a roi's own class needs one number for each
    pixel.
    """

    def __init__(self, whole: MaskRCNNC4Predictor) -> None:
        super().__init__()
        self.cells = cell_conv(whole.conv5_mask)
        self.patch_hw = whole.conv5_mask.kernel_size
        self.mask_fcn_logits = whole.mask_fcn_logits

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """As ``MaskRCNNC4Predictor``."""
        num_rois, _, height, width = features.shape
        hidden = self.cells(features).relu_().permute(0, 2, 3, 1)
        num_hidden = self.mask_fcn_logits.in_channels
        patches = hidden.reshape(num_rois, height, width, *self.patch_hw, num_hidden)
        if labels is None:
            all_logits: Tensor = self.mask_fcn_logits(place_patches(patches).permute(0, 3, 1, 2))
            return all_logits
        pixels = patches.flatten(1, 4).transpose(1, 2)[:, :, None]  # (R, E, 1, M * M)
        logits = _class_logits(self.mask_fcn_logits, pixels, labels)
        return place_patches(logits.view(num_rois, height, width, *self.patch_hw, 1))[..., 0]


class MaskRCNNConv1x1Predictor(nn.Module):
    """A 1x1 convolution to one map a class, without upsampling.

    Args:
        in_channels: D.
        num_classes: C.
    """

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.mask_fcn_logits = nn.Conv2d(in_channels, num_classes, 1)
        init_kaiming_normal(self.mask_fcn_logits)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Mask logits (R, M, M) of each roi's own class.

        Args:
            features: (R, D, M, M).
            labels: (R,) int64 in [0, C); None gives the maps of all classes, (R, C, M, M).
        """
        return _class_logits(self.mask_fcn_logits, features, labels)


def _class_logits(conv: nn.Conv2d, hidden: Tensor, labels: Tensor | None) -> Tensor:
    """A 1x1 convolution of (R, E, M, M), of which only each roi's own output is computed.

    The same numbers for a C-th of the work.
    """
    if labels is None:
        all_logits: Tensor = conv(hidden)
        return all_logits
    kernels = conv.weight[labels].flatten(1)[:, None]  # (R, 1, E)
    logits = torch.bmm(kernels.to(hidden), hidden.flatten(2))  # (R, 1, M * M)
    assert conv.bias is not None
    biases = conv.bias[labels].to(logits)
    return logits.view(-1, hidden.shape[2], hidden.shape[3]) + biases[:, None, None]


@ROI_MASK_PREDICTOR.register("MaskRCNNC4Predictor")
def build_mask_rcnn_c4_predictor(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> MaskRCNNC4Predictor:
    """The predictor with upsampling."""
    head = cfg.MODEL.ROI_MASK_HEAD
    return MaskRCNNC4Predictor(
        in_channels=in_channels,
        hidden_channels=head.CONV_LAYERS[-1],
        num_classes=(spec or ArchitectureSpec.from_config(cfg)).num_classes,
        logits_std=head.LOGITS_INIT_STD,
    )


@ROI_MASK_PREDICTOR.register("MaskRCNNConv1x1Predictor")
def build_mask_rcnn_conv1x1_predictor(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> MaskRCNNConv1x1Predictor:
    """The predictor without upsampling."""
    num_classes = (spec or ArchitectureSpec.from_config(cfg)).num_classes
    return MaskRCNNConv1x1Predictor(in_channels=in_channels, num_classes=num_classes)
