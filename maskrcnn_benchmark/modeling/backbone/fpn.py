"""Feature pyramid network (Lin et al., arXiv 1612.03144).

Shapes: N images, Ci channels of body level i, F pyramid channels.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn_benchmark.layers.padding import pad_at_the_end
from maskrcnn_benchmark.modeling.make_layers import NormFactory, init_kaiming_uniform

ConvFactory = Callable[[int, int, int], nn.Module]
# (lateral map, coarser map) -> their sum or mean, of the size of the first.
TopDown = Callable[[Tensor, Tensor], Tensor]


def add_nearest(lateral: Tensor, coarser: Tensor) -> Tensor:
    """The lateral map and the coarser one, whose cells are repeated."""
    return lateral + F.interpolate(coarser, size=lateral.shape[-2:], mode="nearest")


def add_bilinear(lateral: Tensor, coarser: Tensor) -> Tensor:
    """The lateral map and the coarser one, resized bilinearly."""
    size = lateral.shape[-2:]
    return lateral + F.interpolate(coarser, size=size, mode="bilinear", align_corners=False)


def mean_nearest(lateral: Tensor, coarser: Tensor) -> Tensor:
    """The mean of the lateral map and the coarser one, whose cells are repeated."""
    return add_nearest(lateral, coarser) / 2


class FPN(nn.Module):
    """Pyramid maps from body maps: lateral 1x1 convolutions, top-down sums, 3x3 smoothing.

    Args:
        in_channels_list: channels of the body's maps, finest first; 0 leaves a level out (its
            number stays reserved, so ``fpn_inner2`` is C3 in every model).
        out_channels: channels F of every pyramid map.
        conv_block: (in_channels, out_channels, kernel_size) -> layer.
        top_blocks: makes the levels above the last one.
        layer_block: the same as ``conv_block`` for the 3x3 convolutions alone; None: as the others.
        top_down: joins a lateral map with what comes from the coarser level.
        norms: normalises each map that leaves; coarser maps are made of those before it. None: no
            norms.
    """

    def __init__(
        self,
        *,
        in_channels_list: Sequence[int],
        out_channels: int,
        conv_block: ConvFactory,
        top_blocks: "LastLevelP6P7 | LastLevelMaxPool | None" = None,
        layer_block: ConvFactory | None = None,
        top_down: TopDown = add_nearest,
        norms: NormFactory | None = None,
    ) -> None:
        super().__init__()
        layer_block = layer_block or conv_block
        self.levels = [i for i, channels in enumerate(in_channels_list, 1) if channels > 0]
        for level in self.levels:
            in_channels = in_channels_list[level - 1]
            self.add_module(f"fpn_inner{level}", conv_block(in_channels, out_channels, 1))
            self.add_module(f"fpn_layer{level}", layer_block(out_channels, out_channels, 3))
        self.top_blocks = top_blocks
        self.top_down = top_down
        num_maps = len(self.levels) + (top_blocks.num_maps if top_blocks else 0)
        self.norms = nn.ModuleList(norms(out_channels) for _ in range(num_maps) if norms)

    def strides(self, body_strides: Sequence[int]) -> tuple[int, ...]:
        """Strides (px per cell) of the pyramid's maps over body maps of these strides."""
        strides = [body_strides[level - 1] for level in self.levels]
        for _ in range(self.top_blocks.num_maps if self.top_blocks else 0):
            strides.append(2 * strides[-1])
        return tuple(strides)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Pyramid maps (N, F, Hi, Wi), finest first, from body maps (N, Ci, Hi, Wi)."""
        inner: Tensor | None = None
        pyramid: list[Tensor] = []
        for level in reversed(self.levels):
            lateral = self.get_submodule(f"fpn_inner{level}")(features[level - 1])
            if inner is not None:
                lateral = self.top_down(lateral, inner)
            inner = lateral
            pyramid.insert(0, self.get_submodule(f"fpn_layer{level}")(inner))
        if self.top_blocks is not None:
            pyramid.extend(self.top_blocks(features[-1], pyramid[-1]))
        for index, norm in enumerate(self.norms):
            pyramid[index] = norm(pyramid[index])
        return tuple(pyramid)


class LastLevelMaxPool(nn.Module):
    """One coarser map: every second cell of the last pyramid map (Mask R-CNN's P6)."""

    num_maps = 1

    def forward(self, _c5: Tensor, p5: Tensor) -> list[Tensor]:
        """[P6] of shape (N, F, ceil(H5 / 2), ceil(W5 / 2))."""
        return [F.max_pool2d(p5, kernel_size=1, stride=2, padding=0)]


class LastLevelP6P7(nn.Module):
    """Two coarser maps by stride-2 convolutions (RetinaNet, arXiv 1708.02002, section 4).

    Args:
        c5_channels: channels of C5.
        out_channels: channels F of the pyramid.
        use_c5: P6 comes from C5; otherwise from P5 (FCOS, CenterMask).
        relu: P7 comes from P6 after a ReLU; otherwise from P6 itself (YOLACT).
        pads_at_the_end: even sides are padded at the right and bottom alone (ShapeMask).
        init: initialises the convolutions.
    """

    num_maps = 2

    def __init__(
        self,
        *,
        c5_channels: int,
        out_channels: int,
        use_c5: bool,
        relu: bool = True,
        pads_at_the_end: bool = False,
        init: Callable[[nn.Conv2d], None] = init_kaiming_uniform,
    ) -> None:
        super().__init__()
        in_channels = c5_channels if use_c5 else out_channels
        padding = 0 if pads_at_the_end else 1
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=padding)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=padding)
        self.use_c5 = use_c5
        self.relu = relu
        self.pad = pad_at_the_end if pads_at_the_end else nn.Identity()
        for conv in (self.p6, self.p7):
            init(conv)

    def forward(self, c5: Tensor, p5: Tensor) -> list[Tensor]:
        """[P6, P7], each half the size of the one before (rounded up)."""
        p6 = self.p6(self.pad(c5 if self.use_c5 else p5))
        return [p6, self.p7(self.pad(torch.relu(p6) if self.relu else p6))]
