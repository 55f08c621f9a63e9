"""HRNet bodies (Wang et al., arXiv 1908.07919): branches of four resolutions, fused repeatedly.

Names in the state dict are those of the authors' ImageNet weights.

Shapes: N images, H x W pixels, C channels of the finest branch (the number in a network's name).
Branch i has stride 4 * 2**i and C * 2**i channels.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.layers import FrozenBatchNorm2d, conv_norm
from maskrcnn_benchmark.modeling.backbone.body import Body
from maskrcnn_benchmark.modeling.backbone.resnet import Bottleneck
from maskrcnn_benchmark.modeling.make_layers import init_kaiming_uniform, make_conv

# Channels C of the published networks.
WIDTHS = (18, 32, 40, 48)
_NUM_BRANCHES = 4
_STEM_CHANNELS = 64
_LAYER1_CHANNELS = 256
_BLOCKS_PER_BRANCH = 4
# Fusions in the stages of two, three and four branches.
_FUSIONS_PER_STAGE = (1, 4, 3)


_conv_norm = partial(make_conv, kernel_size=3, norm=FrozenBatchNorm2d)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm2d(channels)
        for conv in (self.conv1, self.conv2):
            init_kaiming_uniform(conv)

    def forward(self, x: Tensor) -> Tensor:
        """Block output, the shape of the input."""
        out = torch.relu_(conv_norm(self.conv1, self.bn1, x))
        out = conv_norm(self.conv2, self.bn2, out)
        out += x
        return torch.relu_(out)


class FusionModule(nn.Module):
    """Blocks on every branch, then every branch receives the sum over all of them.

    Args:
        channels: channels of the branches, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(_BLOCKS_PER_BRANCH)))
            for width in channels
        )
        numbers = range(len(channels))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_make_path(channels, source, target) for source in numbers)
            for target in numbers
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the shapes of the given ones."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for number, (paths, target) in enumerate(zip(self.fuse_layers, features, strict=True)):
            assert isinstance(paths, nn.ModuleList)
            terms = [path(source) for path, source in zip(paths, features, strict=True)]
            coarser = slice(number + 1, None)
            terms[coarser] = [_repeated(term, target) for term in terms[coarser]]
            fused.append(torch.relu(torch.stack(terms).sum(dim=0)))
        return fused


def _repeated(x: Tensor, target: Tensor) -> Tensor:
    """The map of a coarser branch, repeated to the size of the target."""
    return F.interpolate(x, size=target.shape[-2:], mode="nearest")


def _make_path(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to another: halvings to a coarser one, a 1x1 convolution to a finer one."""
    if source == target:
        return nn.Identity()
    if source > target:
        return _conv_norm(channels[source], channels[target], kernel_size=1)
    halvings = []
    for number in range(source + 1, target + 1):
        is_last = number == target
        width = channels[target] if is_last else channels[source]
        halvings.append(_conv_norm(channels[source], width, stride=2, relu=not is_last))
    return nn.Sequential(*halvings)


class HRNet(Body):
    """The body without its classifier; its four maps have strides 4, 8, 16 and 32.

    Args:
        width: channels C of the finest branch.
        freeze_at: the first ``freeze_at`` of (stem, bottlenecks, stages of two, three and four
            branches) get no gradient.
    """

    def __init__(self, *, width: int, freeze_at: int = 0) -> None:
        super().__init__()
        self.out_channels_per_stage = [width * 2**branch for branch in range(_NUM_BRANCHES)]
        self.conv1 = nn.Conv2d(3, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm2d(_STEM_CHANNELS)
        self.conv2 = nn.Conv2d(_STEM_CHANNELS, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm2d(_STEM_CHANNELS)
        for conv in (self.conv1, self.conv2):
            init_kaiming_uniform(conv)
        self.layer1 = _make_layer1()
        in_channels: Sequence[int] = [_LAYER1_CHANNELS]
        parts: list[nn.Module] = [nn.ModuleList([self.conv1, self.conv2]), self.layer1]
        for index, num_fusions in enumerate(_FUSIONS_PER_STAGE):
            channels = self.out_channels_per_stage[: index + 2]
            transition = _make_transition(in_channels, channels)
            stage = nn.Sequential(*(FusionModule(channels) for _ in range(num_fusions)))
            self.add_module(f"transition{index + 1}", transition)
            self.add_module(f"stage{index + 2}", stage)
            parts.append(nn.ModuleList([transition, stage]))
            in_channels = channels
        self.freeze_first(freeze_at, parts)

    @classmethod
    def from_config(cls, cfg: CfgNode, width: int) -> "HRNet":
        """A body with the frozen parts of MODEL.BACKBONE.FREEZE_CONV_BODY_AT."""
        return cls(width=width, freeze_at=cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of the four branches of an image batch (N, 3, H, W)."""
        x = torch.relu_(conv_norm(self.conv1, self.bn1, images))
        x = torch.relu_(conv_norm(self.conv2, self.bn2, x))
        features = [self.layer1(x)]
        for index in range(len(_FUSIONS_PER_STAGE)):
            features = _branch_off(self.get_submodule(f"transition{index + 1}"), features)
            features = self.get_submodule(f"stage{index + 2}")(features)
        return tuple(features)


def _make_layer1() -> nn.Sequential:
    """Four bottlenecks at stride 4."""
    return nn.Sequential(
        *(
            Bottleneck(
                in_channels=_LAYER1_CHANNELS if block else _STEM_CHANNELS,
                bottleneck_channels=_LAYER1_CHANNELS // 4,
                out_channels=_LAYER1_CHANNELS,
                num_groups=1,
                stride_in_1x1=False,
                stride=1,
                norm=FrozenBatchNorm2d,
            )
            for block in range(_BLOCKS_PER_BRANCH)
        )
    )


def _make_transition(in_channels: Sequence[int], channels: Sequence[int]) -> nn.ModuleList:
    """One path a branch: old branches get the width they need, the new one half the resolution."""
    paths: list[nn.Module] = []
    for before, after in zip(in_channels, channels, strict=False):
        paths.append(nn.Identity() if before == after else _conv_norm(before, after, relu=True))
    # The authors' names count the halvings of a path, of which there is one.
    halving = _conv_norm(in_channels[-1], channels[-1], stride=2, relu=True)
    paths.append(nn.Sequential(halving))
    return nn.ModuleList(paths)


def _branch_off(transition: nn.Module, features: list[Tensor]) -> list[Tensor]:
    """The maps, and a new coarser one from the coarsest, each through its path."""
    paths = list(transition.children())
    sources = [*features, features[-1]]
    return [path(source) for path, source in zip(paths, sources, strict=True)]
