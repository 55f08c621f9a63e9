"""Builders of convolutions, norms and linear layers with the original's initialisation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.distributed as dist
from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.layers import (
    Conv2d,
    FrozenBatchNorm2d,
    NormSequential,
    StillBatchNorm2d,
)
from maskrcnn_benchmark.modeling.registry import NORMS

NormFactory = Callable[[int], nn.Module]


@dataclass(frozen=True, slots=True)
class GroupNormSettings:
    """How channels are grouped; calling it with a channel count returns the layer.

    Args:
        num_groups: number of groups, or -1 when ``channels_per_group`` decides.
        channels_per_group: channels of one group, or -1 when ``num_groups`` decides.
        epsilon: added to the variance.

    Raises:
        ConfigError: unless exactly one of the two counts is positive.
    """

    num_groups: int = 32
    channels_per_group: int = -1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if (self.num_groups > 0) == (self.channels_per_group > 0):
            raise ConfigError(
                "MODEL.GROUP_NORM: set exactly one of NUM_GROUPS and DIM_PER_GP to a positive "
                f"number (the other to -1), got {self.num_groups} and {self.channels_per_group}"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "GroupNormSettings":
        """Settings read from MODEL.GROUP_NORM."""
        # UPSTREAM(group-norm-settings): make_layers.py read the global configuration, whatever the
        # model was built with.
        group_norm = cfg.MODEL.GROUP_NORM
        return cls(
            num_groups=group_norm.NUM_GROUPS,
            channels_per_group=group_norm.DIM_PER_GP,
            epsilon=group_norm.EPSILON,
        )

    def __call__(self, channels: int) -> nn.GroupNorm:
        """Group normalisation of ``channels`` channels, with learnable scale and shift.

        Raises:
            ConfigError: if the channels cannot be divided into these groups.
        """
        size = self.channels_per_group if self.channels_per_group > 0 else self.num_groups
        if channels % size != 0:
            raise ConfigError(
                f"MODEL.GROUP_NORM: {channels} channels cannot be divided by {size} "
                "(NUM_GROUPS, or DIM_PER_GP where it is set)"
            )
        groups = channels // size if self.channels_per_group > 0 else size
        return nn.GroupNorm(groups, channels, self.epsilon)


@dataclass(frozen=True, slots=True)
class BatchNormSettings:
    """Batch normalisation as it is trained; calling it with a channel count returns the layer.

    Args:
        epsilon: added to the variance.
        momentum: share of a batch in the running statistics, in (0, 1].
        is_still: neither the statistics nor scale and shift are trained.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1
    is_still: bool = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "BatchNormSettings":
        """Settings read from MODEL.BATCH_NORM; still if a process trains on too few images."""
        section = cfg.MODEL.BATCH_NORM
        is_distributed = dist.is_available() and dist.is_initialized()
        num_processes = dist.get_world_size() if is_distributed else 1
        share = cfg.SOLVER.IMS_PER_BATCH // num_processes
        return cls(section.EPSILON, section.MOMENTUM, share < section.MIN_IMAGES)

    def __call__(self, channels: int) -> nn.BatchNorm2d:
        """Batch normalisation of ``channels`` channels, with scale and shift."""
        layer = StillBatchNorm2d if self.is_still else nn.BatchNorm2d
        return layer(channels, self.epsilon, self.momentum)


def make_norm(cfg: CfgNode, section: CfgNode) -> NormFactory | None:
    """What normalises behind the convolutions of a part, as its NORM or USE_GN says; None: nothing.

    Args:
        cfg: settings.
        section: those of the part.

    Raises:
        UnknownNameError: NORM names none of ``NORMS``.
    """
    name = section.NORM or ("GN" if section.USE_GN else "")
    return NORMS.build(name, cfg) if name else None


NORMS.register("GN", GroupNormSettings.from_config)
NORMS.register("BN", BatchNormSettings.from_config)
NORMS.register("FrozenBN", lambda: FrozenBatchNorm2d)


def init_kaiming_uniform(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialises weights as Caffe2's XavierFill (a=1) and zeroes the bias."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def init_kaiming_normal(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Initialises weights as Caffe2's MSRAFill (fan out, ReLU) and zeroes the bias."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def init_xavier_uniform(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """Initialises weights uniformly by Glorot and Bengio's rule and zeroes the bias."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def init_normal(layer: nn.Conv2d | nn.Linear, std: float) -> None:
    """Initialises weights from N(0, std) and zeroes the bias."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def make_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    norm: NormFactory | None = None,
    bias: bool | None = None,
    relu: bool = False,
    init: Callable[[nn.Conv2d], None] = init_kaiming_uniform,
) -> nn.Module:
    """A same-padded convolution, followed by ``norm`` and ReLU where they are asked for.

    The convolution has a bias where ``bias`` says so, by default only without ``norm``. A lone
    convolution is returned bare, so that its checkpoint keys are ``<name>.weight`` and
    ``<name>.bias``, as in the original.
    """
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=dilation * (kernel_size - 1) // 2,
        dilation=dilation,
        groups=groups,
        bias=norm is None if bias is None else bias,
    )
    init(conv)
    layers: list[nn.Module] = [conv]
    if norm is not None:
        layers.append(norm(out_channels))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return NormSequential(*layers) if len(layers) > 1 else conv


def make_fc(in_features: int, out_features: int, norm: NormFactory | None = None) -> nn.Module:
    """A fully connected layer, followed by ``norm`` where it is asked for.

    It has a bias only without ``norm``. A lone layer is returned bare, so that its checkpoint keys
    are ``<name>.weight`` and ``<name>.bias``, as in the original.
    """
    layer = nn.Linear(in_features, out_features, bias=norm is None)
    init_kaiming_uniform(layer)
    return layer if norm is None else nn.Sequential(layer, norm(out_features))


def make_tower(
    channels: int,
    num_convs: int,
    *,
    std: float,
    norm: Callable[[int], nn.Module] | None = None,
    out_channels: int | None = None,
) -> nn.Sequential:
    """3x3 convolutions of as many channels, each with ReLU, in one row as checkpoints have them.

    Args:
        channels: of the input.
        num_convs: how many convolutions.
        std: of their weights at the start.
        norm: channels -> normalisation before each ReLU, or None.
        out_channels: of the layers between and of the output; None: as the input.
    """
    layers: list[nn.Module] = []
    last = channels if out_channels is None else out_channels
    for index in range(num_convs):
        conv = nn.Conv2d(last if index else channels, last, 3, padding=1)
        init_normal(conv, std)
        layers += [conv, *([norm(last)] if norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
