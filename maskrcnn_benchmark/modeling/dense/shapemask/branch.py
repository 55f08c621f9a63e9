"""The mask branch: shape priors, then coarse masks, then fine ones (arXiv 1904.03239, section 3).

Shapes: R boxes, F channels of the branch, C classes with background (1 if they share one output),
K priors of a class, M side of crops and coarse masks (32).
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.modeling.dense.shapemask.head import RARE_LOGIT
from maskrcnn_benchmark.modeling.make_layers import NormFactory, init_normal, init_xavier_uniform

_NUM_CONVS: Final = 4
_STD: Final = 0.01
_UPSAMPLING: Final = 4
_EPS: Final = 1e-20


class MaskOutputs(NamedTuple):
    """What the branch predicts.

    Attributes:
        priors: (R, M, M) mixtures of shape priors, in the outer boxes.
        coarse: (R, M, M) logits.
        fine: (R, 4M, 4M) logits.
    """

    priors: Tensor
    coarse: Tensor
    fine: Tensor


class MaskConvs(nn.Module):
    """A mask laid over features, then 3x3 convolutions of as many channels.

    Args:
        channels: F.
        norm: channels -> normalisation layer.
    """

    def __init__(self, *, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.embed = nn.Linear(1, channels)
        init_xavier_uniform(self.embed)
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(_NUM_CONVS)]
        for conv in convs:
            init_normal(conv, _STD)
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(norm(channels) for _ in convs)

    def run_convs(self, features: Tensor, masks: Tensor) -> Tensor:
        """(R, F, M, M) of features (R, F, M, M) and masks (R, M, M)."""
        x: Tensor = features + self.embed(masks[..., None]).permute(0, 3, 1, 2)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)))
        return x


class CoarseMask(MaskConvs):
    """Coarse masks: features and a prior to the logits of one class.

    Args:
        channels: F.
        num_outputs: C.
        norm: channels -> normalisation layer.
    """

    def __init__(self, *, channels: int, num_outputs: int, norm: NormFactory) -> None:
        super().__init__(channels=channels, norm=norm)
        self.predict = _make_output(channels, num_outputs)

    def forward(self, features: Tensor, priors: Tensor, outputs: Tensor) -> Tensor:
        """(R, M, M) logits of the outputs (R,), from features (R, F, M, M), priors (R, M, M)."""
        return _chosen(self.predict(self.run_convs(features, priors)), outputs)

    def folded(self) -> "FoldedCoarseMask":
        """The same for evaluation, which computes the one output that is asked for."""
        return FoldedCoarseMask(self)


class FineMask(MaskConvs):
    """Fine masks: features without the object's mean, and its coarse mask, to logits of one class.

    Args:
        channels: F.
        num_outputs: C.
        norm: channels -> normalisation layer.
    """

    def __init__(self, *, channels: int, num_outputs: int, norm: NormFactory) -> None:
        super().__init__(channels=channels, norm=norm)
        self.upsample = nn.ConvTranspose2d(channels, channels, _UPSAMPLING, stride=_UPSAMPLING)
        init_xavier_uniform(self.upsample)
        self.predict = _make_output(channels, num_outputs)

    def forward(self, features: Tensor, coarse: Tensor, outputs: Tensor) -> Tensor:
        """(R, 4M, 4M) logits of the outputs (R,), from features and coarse logits (R, M, M)."""
        return _chosen(self.predict(self.upsample(self.compare(features, coarse))), outputs)

    def compare(self, features: Tensor, coarse: Tensor) -> Tensor:
        """(R, F, M, M) what follows from the features relative to the object's own."""
        probs = coarse.sigmoid()
        # A jump: a logit next to 0 that rounding moves to its other side moves the whole mask.
        is_inside = (probs > 0.5).to(features.dtype)[:, None]
        covered = is_inside.sum(dim=(2, 3), keepdim=True) + _EPS
        mean = (features * is_inside).sum(dim=(2, 3), keepdim=True) / covered
        return self.run_convs(features - mean, probs)

    def folded(self) -> "FoldedFineMask":
        """The same for evaluation, with the last two layers as one, for one output."""
        return FoldedFineMask(self)


class FoldedCoarseMask(nn.Module):
    """``CoarseMask`` whose last layer computes one output of its own for each box."""

    weight: Tensor
    bias: Tensor

    def __init__(self, whole: CoarseMask) -> None:
        super().__init__()
        self.trunk = _Trunk(whole)
        weight, bias = _weights(whole.predict)
        self.register_buffer("weight", weight[..., None])
        self.register_buffer("bias", bias[:, None])

    def forward(self, features: Tensor, priors: Tensor, outputs: Tensor) -> Tensor:
        """As ``CoarseMask``."""
        x = self.trunk(features, priors)
        return _one_each(x, self.weight[outputs], self.bias[outputs])[:, 0]


class FoldedFineMask(nn.Module):
    """``FineMask`` whose last two layers, with nothing between them, are one for each output."""

    weight: Tensor
    bias: Tensor

    def __init__(self, whole: FineMask) -> None:
        super().__init__()
        self.trunk = _ComparingTrunk(whole)
        weight, bias = _weights(whole.predict)
        # In double precision, so that nothing but the result is rounded.
        up = whole.upsample.weight.detach().double()
        kernels = torch.einsum("co,ioyx->ciyx", weight.double(), up).flatten(2)
        added = weight.double() @ _bias(whole.upsample).double() + bias.double()
        self.register_buffer("weight", kernels.float())
        self.register_buffer("bias", added.float()[:, None])

    def forward(self, features: Tensor, coarse: Tensor, outputs: Tensor) -> Tensor:
        """As ``FineMask``."""
        x = self.trunk(features, coarse)
        cells = _one_each(x, self.weight[outputs], self.bias[outputs])
        return F.pixel_shuffle(cells, _UPSAMPLING)[:, 0]


class _Trunk(nn.Module):
    """``run_convs`` of a part as a module, which can be traced."""

    def __init__(self, whole: MaskConvs) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        return self.whole.run_convs(features, masks)


class _ComparingTrunk(nn.Module):
    """``FineMask.compare`` likewise."""

    def __init__(self, whole: FineMask) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        return self.whole.compare(features, coarse)


def _one_each(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """(R, O, M, M) of x (R, F, M, M): for each box a product with weights (R, F, O) of its own."""
    products = torch.bmm(weights.transpose(1, 2), x.float().flatten(2)) + bias[..., None]
    return products.view(*products.shape[:2], *x.shape[2:])


def _weights(predict: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """(C, F) and (C,) of a 1x1 convolution."""
    return predict.weight.detach()[..., 0, 0], _bias(predict)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias.detach()


def _chosen(logits: Tensor, outputs: Tensor) -> Tensor:
    """(R, H, W) of (R, C, H, W): of each box the output (R,)."""
    return torch.take_along_dim(logits, outputs[:, None, None, None], dim=1)[:, 0]


def _make_output(channels: int, num_outputs: int) -> nn.Conv2d:
    predict = nn.Conv2d(channels, num_outputs, 1)
    init_normal(predict, _STD)
    nn.init.constant_(predict.bias, RARE_LOGIT)  # type: ignore[arg-type]
    return predict
