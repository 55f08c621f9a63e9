"""Deformable RoI pooling, versions 1 (offsets) and 2 (offsets and modulation).

Shape symbols: R rois, N images, C input channels, O output channels, H x W feature map, P bins,
G group cells, Z parts and S samples of a bin along each side, K classes.
"""

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.arguments import (
    ShowsArguments,
    check_floating,
    check_shape,
    check_spatial_scale,
    check_tensors,
)

# In the order of the operator.
_SIZES = ("out_channels", "out_size", "group_size", "part_size", "sample_per_part")


def _check_offset(offset: Tensor, num_rois: int, out_channels: int, part_size: int) -> None:
    fits = offset.dim() == 4 and offset.shape[0] == num_rois and offset.shape[1] > 0
    fits = fits and offset.shape[2:] == (part_size, part_size) and offset.shape[1] % 2 == 0
    if not fits or out_channels % (offset.shape[1] // 2):
        wanted = f"({num_rois}, 2 K, {part_size}, {part_size}) with K classes that divide "
        got = tuple(offset.shape)
        raise ValueError(f"offset: expected {wanted}{out_channels} channels, got {got}")


def deform_roi_pooling(
    data: Tensor,
    rois: Tensor,
    offset: Tensor,
    spatial_scale: float,
    out_size: int,
    out_channels: int,
    no_trans: bool,
    group_size: int = 1,
    part_size: int | None = None,
    sample_per_part: int = 4,
    trans_std: float = 0.0,
) -> Tensor:
    """Average features of the (moved) bins of each roi, (R, O, P, P), in the type of ``data``.

    Corners are rounded to px (halves away from zero), both end px count, sides are at least a tenth
    of a cell. Samples count within half a cell of the map; a bin without any is 0. Output channels
    have G x G input channels each, one for a cell of a grid over the roi. Differentiable (once) in
    ``data`` and ``offset``.

    Args:
        data: (N, O G G, H, W) floating. Half precision and autocast compute in float32.
        rois: (R, 5): image index in [0, N), then x1, y1, x2, y2 in px of the padded batch.
        offset: (R, 2 K, Z, Z) for each class, shared by O / K channels, a shift to the right and
            one down; times ``trans_std`` they are shares of the roi's sides. Unread with
            ``no_trans``.
        spatial_scale: 1 / stride of the feature map.
        out_size: P.
        out_channels: O.
        no_trans: nothing is moved.
        group_size: G.
        part_size: Z, P if None; bins of a part share an offset.
        sample_per_part: S.
        trans_std: factor of the offsets.

    Raises:
        ValueError: wrong shape or type, non-positive size or scale.
        RuntimeError: image index out of range, on the CPU (ValueError without compiled operators).

    Source: Deformable Convolutional Networks (Dai et al. 2017), section 2.2.
    """
    parts = out_size if part_size is None else part_size
    sizes = (out_channels, out_size, group_size, parts, sample_per_part)
    return _pool(data, rois, None if no_trans else offset, spatial_scale, sizes, trans_std)


def _pool(
    data: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    spatial_scale: float,
    sizes: tuple[int, ...],
    trans_std: float,
) -> Tensor:
    check_tensors(data=data, rois=rois, offset=offset)
    check_floating(data=data, rois=rois, offset=offset)
    check_spatial_scale(spatial_scale)
    for name, size in zip(_SIZES, sizes, strict=True):
        if size < 1:
            raise ValueError(f"{name}: expected a positive number, got {size}")
    out_channels, _, group_size, part_size, _ = sizes
    check_shape("data", data, ("N", out_channels * group_size * group_size, "H", "W"))
    check_shape("rois", rois, ("R", 5))
    precise = data if data.dtype == torch.float64 else data.float()
    if offset is not None:
        _check_offset(offset, rois.shape[0], out_channels, part_size)
        offset = offset.to(precise.dtype)
    pooled: Tensor = torch.ops.centermask.deform_psroi_pooling(
        precise, rois.to(precise.dtype), offset, float(spatial_scale), *sizes, float(trans_std)
    )
    return pooled.to(data.dtype)


class DeformRoIPooling(ShowsArguments):
    """Module form of ``deform_roi_pooling``; the arguments have the same meaning."""

    def __init__(
        self,
        spatial_scale: float,
        out_size: int,
        out_channels: int,
        no_trans: bool,
        group_size: int = 1,
        part_size: int | None = None,
        sample_per_part: int = 4,
        trans_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.spatial_scale = spatial_scale
        self.out_size = out_size
        self.out_channels = out_channels
        self.no_trans = no_trans
        self.group_size = group_size
        self.part_size = out_size if part_size is None else part_size
        self.sample_per_part = sample_per_part
        self.trans_std = trans_std

    def pool(self, data: Tensor, rois: Tensor, offset: Tensor | None) -> Tensor:
        """Features (R, O, P, P), nothing moved where ``offset`` is None."""
        sizes = tuple(getattr(self, name) for name in _SIZES)
        return _pool(data, rois, offset, self.spatial_scale, sizes, self.trans_std)

    def forward(self, data: Tensor, rois: Tensor, offset: Tensor) -> Tensor:
        """Features of each roi, (R, O, P, P)."""
        return self.pool(data, rois, None if self.no_trans else offset)


class DeformRoIPoolingPack(DeformRoIPooling):
    """Version 1 that predicts the offsets itself, from features pooled without; zero at the start.

    Arguments as in ``deform_roi_pooling``; but ``part_size`` is P or None, as the prediction has P
    parts, ``no_trans`` also predicts nothing, and ``deform_fc_channels`` is the width of the two
    hidden layers.
    """

    def __init__(
        self,
        spatial_scale: float,
        out_size: int,
        out_channels: int,
        no_trans: bool,
        group_size: int = 1,
        part_size: int | None = None,
        sample_per_part: int = 4,
        trans_std: float = 0.0,
        deform_fc_channels: int = 1024,
    ) -> None:
        sampling = (group_size, part_size, sample_per_part, trans_std)
        super().__init__(spatial_scale, out_size, out_channels, no_trans, *sampling)
        self.deform_fc_channels = deform_fc_channels
        if not no_trans:
            self._add_predictions(out_size * out_size, deform_fc_channels)

    def _add_predictions(self, num_bins: int, width: int) -> None:
        last = _zero_linear(width, num_bins * 2)
        first = nn.Linear(num_bins * self.out_channels, width), nn.ReLU(inplace=True)
        self.offset_fc = nn.Sequential(*first, nn.Linear(width, width), nn.ReLU(inplace=True), last)

    def forward(self, data: Tensor, rois: Tensor) -> Tensor:  # type: ignore[override]
        """Features of each roi, (R, O, P, P)."""
        plain = self.pool(data, rois, None)
        return plain if self.no_trans else self.pool(data, rois, self._offset(plain))

    def _offset(self, plain: Tensor) -> Tensor:
        offset: Tensor = self.offset_fc(plain.flatten(1))
        return offset.reshape(plain.shape[0], 2, self.out_size, self.out_size)


class ModulatedDeformRoIPoolingPack(DeformRoIPoolingPack):
    """Version 2: predicts also a factor of each bin, through a sigmoid; 1/2 at the start.

    Arguments as in ``DeformRoIPoolingPack``.

    Source: Deformable ConvNets v2 (Zhu et al. 2019), section 3.2.
    """

    def _add_predictions(self, num_bins: int, width: int) -> None:
        super()._add_predictions(num_bins, width)
        self.mask_fc = nn.Sequential(
            nn.Linear(num_bins * self.out_channels, width),
            nn.ReLU(inplace=True),
            _zero_linear(width, num_bins),
            nn.Sigmoid(),
        )

    def forward(self, data: Tensor, rois: Tensor) -> Tensor:  # type: ignore[override]
        """Features of each roi, (R, O, P, P)."""
        plain = self.pool(data, rois, None)
        if self.no_trans:
            return plain
        mask: Tensor = self.mask_fc(plain.flatten(1))
        moved = self.pool(data, rois, self._offset(plain))
        return moved * mask.reshape(plain.shape[0], 1, self.out_size, self.out_size)


def _zero_linear(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
