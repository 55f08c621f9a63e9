"""Random calls of the operators for hypothesis: mostly right, then one argument spoilt.

Shape symbols: K boxes, N images, C channels, H x W map, R rois, P x Q pooled size, L locations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from maskrcnn_benchmark.layers import _ops, pack_inverted_residual_int16

NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))
# Where whether NaN or infinity times a weight of 0 counts is left open.
TAME = (0.0, -0.0, 1e-30)
SPECIAL = (*NO_NUMBERS, 1e30, -1e30, 0.0, -0.0, 1e-30)
OPERATORS = {operator.name: operator for operator in _ops.OPERATORS}

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass
class Source:
    """Random tensors and numbers of one example."""

    draw: Draw
    special: tuple[float, ...] = SPECIAL

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.size(0, 2**16))
        self.dtype = self.draw(st.sampled_from((torch.float32, torch.float64)))

    def size(self, low: int, high: int) -> int:
        """A whole number of [low, high]."""
        return int(self.draw(st.integers(low, high)))

    def choice(self, *values: Any) -> Any:
        """One of the values."""
        return self.draw(st.sampled_from(values))

    def floats(
        self, *shape: int, scale: float = 10.0, special: tuple[float, ...] | None = None
    ) -> Tensor:
        """Numbers around 0; some examples hold a special one."""
        values = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
        if values.numel() and self.size(0, 3) == 0:
            place = self.size(0, values.numel() - 1)
            values.view(-1)[place] = self.choice(*(special or self.special))
        return values.to(self.dtype)

    def maps(self, *shape: int, scale: float = 10.0) -> Tensor:
        """Numbers of (N, C, H, W) in either layout."""
        layout = self.choice(torch.channels_last, torch.contiguous_format)
        return self.floats(*shape, scale=scale).contiguous(memory_format=layout)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers of [low, high]."""
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def boxes(self, count: int) -> Tensor:
        """Boxes xyxy, a few of them inverted."""
        boxes = self.floats(count, 4)
        return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + 5), dim=1)


def nms_keep(source: Source) -> list[Any]:
    """Arguments of ``nms_keep``."""
    count = source.size(0, 70)
    labels = source.integers(-1, 1, count) if source.choice(True, False) else None
    return [source.boxes(count), labels, source.choice(0.5, 0.0, 1.0, -1.0, *SPECIAL)]


def _rois(source: Source, num_images: int) -> Tensor:
    count = source.size(0, 4)
    low, high = source.choice((0, num_images - 1), (0, num_images - 1), (-1, num_images))
    images = source.integers(low, max(low, high), count, 1).to(source.dtype)
    return torch.cat((images, source.boxes(count)), dim=1)


def roi_align(source: Source) -> list[Any]:
    """Arguments of ``roi_align``."""
    n, c, h, w = (source.size(0, most) for most in (2, 20, 6, 6))
    scale = source.choice(0.25, 1.0, 0.0, -1.0, 1e-30)
    sides = source.size(-1, 3), source.size(0, 3)
    features = source.floats(n, c, h, w, special=TAME)
    ratio, aligned = source.size(-1, 3), source.choice(False, True)
    return [features, _rois(source, n), scale, *sides, ratio, aligned]


def roi_align_backward(source: Source) -> list[Any]:
    """Arguments of ``roi_align_backward``."""
    n, c, h, w = (source.size(0, most) for most in (2, 20, 6, 6))
    rois = _rois(source, n)
    grad = source.floats(len(rois), c, source.size(1, 3), source.size(1, 3), special=TAME)
    ratio, aligned = source.size(-1, 3), source.choice(False, True)
    return [grad, rois, source.choice(0.25, 1.0), n, c, h, w, ratio, aligned]


def roi_pool(source: Source) -> list[Any]:
    """Arguments of ``roi_pool``."""
    return roi_align(source)[:-2]


def roi_pool_backward(source: Source) -> list[Any]:
    """Arguments of ``roi_pool_backward``."""
    grad, rois, _, n, _, h, w, *_ = roi_align_backward(source)
    cells = source.integers(-1, max(h * w - source.size(0, 1), 0), *grad.shape)
    return [grad, rois, cells, n, h, w]


def deform_psroi_pooling(source: Source) -> list[Any]:
    """Arguments of ``deform_psroi_pooling``."""
    source.special = TAME
    outputs, pooled, group, parts, samples = (source.size(1, 2) for _ in range(5))
    n, h, w = source.size(0, 2), source.size(0, 5), source.size(0, 5)
    rois = _rois(source, n)
    offset = source.floats(len(rois), 2 * outputs, parts, parts) if source.size(0, 1) else None
    features = source.floats(n, outputs * group * group, h, w)
    return [features, rois, offset, 0.25, outputs, pooled, group, parts, samples, 0.1]


def deform_psroi_pooling_backward(source: Source) -> list[Any]:
    """Arguments of ``deform_psroi_pooling_backward``."""
    arguments = deform_psroi_pooling(source)
    rois, outputs, pooled = len(arguments[1]), arguments[4], arguments[5]
    return [source.floats(rois, outputs, pooled, pooled), *arguments]


def group_norm_relu(source: Source) -> list[Any]:
    """Arguments of ``group_norm_relu``."""
    source.special = TAME
    groups = source.size(1, 3)
    n, c, h, w = source.size(0, 2), groups * source.size(1, 3), source.size(0, 9), source.size(0, 9)
    maps = source.maps(n, c, h, w)
    parameters = source.floats(c, scale=1.0), source.floats(c, scale=1.0)
    return [maps, groups, *parameters, 1e-3, source.choice(True, False)]


def scores_above(source: Source) -> list[Any]:
    """Arguments of ``scores_above``."""
    width = source.size(1, 3)
    n, c, h, w = source.size(0, 2), width * source.size(0, 3), source.size(0, 9), source.size(0, 9)
    logits = source.maps(n, c, h, w, scale=3.0)
    # Nothing that a sigmoid of these numbers could be.
    source.special = (0.0, 1.0, -1.0, 2.0, *NO_NUMBERS)
    return [logits, width, source.choice(0.05, 0.3, *source.special)]


def winograd_conv3x3(source: Source) -> list[Any]:
    """Arguments of ``winograd_conv3x3``."""
    source.special, source.dtype = TAME, torch.float32
    n, c, h, w = source.size(0, 2), source.size(0, 18), source.size(1, 9), source.size(1, 9)
    maps = source.maps(n, c, h, w)
    outputs = source.size(0, 70)
    weight = source.floats(36 * c * (outputs + -outputs % 16), scale=0.1)
    return [maps, weight, source.floats(outputs), source.size(1, 2), source.choice(True, False)]


def winograd_conv3x3_int16(source: Source) -> list[Any]:
    """Arguments of ``winograd_conv3x3_int16``: weights that are integers."""
    maps, _, bias, padding, relu = winograd_conv3x3(source)
    num_channels, width = maps.shape[1], 36 * (len(bias) + -len(bias) % 16)
    weight = source.integers(-1, 2, width * (num_channels + num_channels % 2)).short()
    scale = source.floats(width * -(-num_channels // 64), scale=0.1)
    return [maps, weight, scale, bias, padding, relu]


def pointwise_conv_int16(source: Source) -> list[Any]:
    """Arguments of ``pointwise_conv_int16``: weights that are integers."""
    source.special, source.dtype = TAME, torch.float32
    n, c, h, w = source.size(0, 2), source.size(0, 70), source.size(0, 9), source.size(0, 9)
    maps = source.maps(n, c, h, w)
    outputs, stride = source.size(0, 70), source.size(1, 3)
    width = outputs + -outputs % 16
    weight = source.integers(-1, 2, width * (c + c % 2)).short()
    scale, bias = source.floats(width * -(-c // 64), scale=0.1), source.floats(outputs)
    addend = source.floats(n, outputs, -(-h // stride), -(-w // stride))
    addend = source.choice(addend, None)
    return [maps, weight, scale, bias, addend, stride, source.choice(-0.5, 0.0), 1.0]


def inverted_residual(source: Source) -> list[Any]:
    """Arguments of ``inverted_residual``."""
    source.special, source.dtype = TAME, torch.float32
    n, c, h, w = source.size(0, 2), source.size(1, 18), source.size(1, 9), source.size(1, 9)
    maps = source.maps(n, c, h, w)
    expands, adds = source.choice(True, False), source.choice(True, False)
    between = 16 * source.size(1, 6) if expands else c + -c % 16
    outputs, stride = (c, 1) if adds else (source.size(0, 70), source.size(1, 2))
    expansion = source.floats((1 + c) * between, scale=0.1) if expands else None
    filters = source.floats(10 * between, scale=0.1)
    projection = source.floats((1 + between) * (outputs + -outputs % 16), scale=0.1)
    return [maps, expansion, filters, projection, outputs, stride, adds, source.choice(0.5, 6.0)]


def conv_tower(source: Source) -> list[Any]:
    """Arguments of ``conv_tower``."""
    source.special, source.dtype = TAME, torch.float32
    n, groups = source.size(0, 2), source.size(1, 3)
    c, convs = groups * source.size(1, 6), source.size(0, 2)
    hw = [(source.size(1, 9), source.size(1, 9)) for _ in range(source.size(1, 3))]
    maps = [source.maps(n, c, *each, scale=1.0) for each in hw]
    widths = [source.size(1, 33) for _ in range(source.size(1, 2))]
    columns = sum(width + -width % 16 for width in [c] * convs + widths)
    bias = source.floats(columns, scale=1.0)
    norm = source.choice(source.floats(convs, 2, c, scale=1.0), None)
    rest = [bias, norm, convs, groups, 1e-3, widths]
    if source.choice(True, False):
        return [maps, source.floats(36 * c * columns, scale=0.1), None, *rest]
    integers = source.integers(-(2**11), 2**11, 36 * (c + c % 2) * columns).short()
    return [maps, integers, torch.rand(36 * columns, generator=source.generator) / 2**16, *rest]


def inverted_residual_int16(source: Source) -> list[Any]:
    """Arguments of ``inverted_residual_int16``: weights that are integers."""
    source.special, source.dtype = TAME, torch.float32
    n, c, h, w = source.size(0, 2), source.size(0, 18), source.size(1, 9), source.size(1, 9)
    maps = source.floats(n, h, w, c).permute(0, 3, 1, 2)
    between, adds = source.size(1, 90), source.choice(True, False)
    outputs, stride = (c, 1) if adds else (source.size(0, 70), source.size(1, 2))
    packed = pack_inverted_residual_int16(
        (source.floats(between, c, 1, 1, scale=0.1), source.floats(between)),
        (source.floats(between, 1, 3, 3, scale=0.1), source.floats(between)),
        (source.floats(outputs, between, 1, 1, scale=0.1), source.floats(outputs)),
        source.choice(0.5, 6.0),
    )
    return [maps, *packed, outputs, stride, adds]


def winograd_pack(source: Source) -> list[Any]:
    """Arguments of ``winograd_pack``."""
    source.special, source.dtype = TAME, torch.float32
    weight = source.floats(source.size(0, 70), source.size(0, 70), 3, 3)
    return [weight, source.choice(True, False)]


def winograd_conv3x3_weight_grad(source: Source) -> list[Any]:
    """Arguments of ``winograd_conv3x3_weight_grad``."""
    source.special, source.dtype = TAME, torch.float32
    n, c, h, w = source.size(0, 2), source.size(0, 70), source.size(1, 9), source.size(1, 9)
    padding = source.size(1, 2)
    maps = source.maps(n, c, h, w)
    grad = source.floats(n, source.size(0, 18), h + 2 * padding - 2, w + 2 * padding - 2, scale=0.1)
    return [grad, maps, padding]


def sigmoid_focal_loss(source: Source) -> list[Any]:
    """Arguments of ``sigmoid_focal_loss``."""
    rows, classes = source.size(0, 20), source.size(0, 5)
    low, high = source.choice((-1, classes), (-1, classes), (-3, classes + 2))
    targets = source.integers(low, high, rows)
    gamma, alpha = source.choice(0.0, 1.0, 2.0, 0.5), source.choice(0.25, 0.5)
    # 0 times infinity again, in the twin's exponent.
    logits = source.floats(rows, classes, special=None if gamma else (1e30, -1e30))
    source.special = (0.25, 0.5)  # of its gradient, gamma and alpha: a weight of 0 is as above
    return [logits, targets, gamma, alpha]


def sigmoid_focal_loss_sum(source: Source) -> list[Any]:
    """Arguments of ``sigmoid_focal_loss_sum``."""
    return sigmoid_focal_loss(source)


def sigmoid_focal_loss_backward(source: Source) -> list[Any]:
    """Arguments of ``sigmoid_focal_loss_backward``."""
    arguments = sigmoid_focal_loss(source)
    return [source.floats(*arguments[0].shape), *arguments]


def deform_conv(source: Source) -> list[Any]:
    """Arguments of ``deform_conv``."""
    source.special = TAME
    n, c, h, w = source.size(0, 2), 2 * source.size(1, 2), source.size(1, 5), source.size(1, 5)
    kernel = source.size(1, 2), source.size(1, 3)
    stride, padding, dilation = ([source.size(low, 2), source.size(low, 2)] for low in (1, 0, 1))
    out = [
        max((side + 2 * p - d * (k - 1) - 1) // s + 1, 0)
        for side, p, d, k, s in zip((h, w), padding, dilation, kernel, stride, strict=True)
    ]
    groups, parts = source.choice(1, 2), source.choice(1, 2)
    taps = kernel[0] * kernel[1]
    offset = source.floats(n, 2 * taps * parts, *out, scale=2.0)
    mask = source.floats(n, taps * parts, *out, scale=1.0) if source.choice(True, False) else None
    weight = source.floats(2 * source.size(0, 2), c // groups, *kernel, scale=1.0)
    return [source.floats(n, c, h, w), offset, mask, weight, stride, padding, dilation]


def deform_conv_backward(source: Source) -> list[Any]:
    """Arguments of ``deform_conv_backward``."""
    arguments = deform_conv(source)
    images, outputs = len(arguments[0]), len(arguments[3])
    return [source.floats(images, outputs, *arguments[1].shape[2:]), *arguments]


def paste_masks_rle(source: Source) -> list[Any]:
    """Arguments of ``paste_masks_rle``."""
    source.special = NO_NUMBERS
    source.dtype = torch.float32
    count, side = source.size(0, 3), source.size(1, 5)
    sizes = source.size(0, 30), source.size(0, 30)
    threshold = source.choice(0.5, 0.0, 1.0, float("nan"))
    masks = source.floats(count, side, side, scale=1.0, special=TAME)
    return [masks, source.boxes(count), *sizes, threshold, source.size(0, 2)]


def _groups(source: Source) -> tuple[list[Tensor], int]:
    source.dtype, source.special = torch.float32, NO_NUMBERS
    num_polygons, num_instances = source.size(0, 4), source.size(0, 3)
    lengths = source.integers(3, 6, num_polygons)
    polygon_begins = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    cuts = source.integers(0, num_polygons, max(num_instances - 1, 0)).sort().values
    ends = [*cuts.tolist(), num_polygons] if num_instances else []
    instance_begins = torch.tensor([0, *ends])
    points = source.floats(int(lengths.sum()), 2)
    return [points, polygon_begins, instance_begins], num_instances


def rasterize_polygons(source: Source) -> list[Any]:
    """Arguments of ``rasterize_polygons``."""
    groups, count = _groups(source)
    rois = source.size(0, 3) if count else 0
    instances = source.integers(0, max(count - 1, 0), rois)
    return [*groups, instances, source.boxes(rois), source.size(1, 9)]


def polygon_areas(source: Source) -> list[Any]:
    """Arguments of ``polygon_areas``."""
    groups, count = _groups(source)
    rois = source.size(0, 3) if count else 0
    instances = source.integers(0, max(count - 1, 0), rois)
    return [*groups, instances, source.floats(rois, 2), source.integers(1, 30, rois, 2)]


ARGUMENTS: dict[str, Callable[[Source], list[Any]]] = {
    function.__name__: function
    for function in (
        nms_keep,
        roi_align,
        roi_align_backward,
        roi_pool,
        roi_pool_backward,
        deform_psroi_pooling,
        deform_psroi_pooling_backward,
        group_norm_relu,
        inverted_residual,
        conv_tower,
        inverted_residual_int16,
        scores_above,
        pointwise_conv_int16,
        winograd_conv3x3,
        winograd_conv3x3_int16,
        winograd_pack,
        winograd_conv3x3_weight_grad,
        sigmoid_focal_loss,
        sigmoid_focal_loss_sum,
        sigmoid_focal_loss_backward,
        deform_conv,
        deform_conv_backward,
        paste_masks_rle,
        rasterize_polygons,
        polygon_areas,
    )
}
"""Operator -> its arguments, right but for image indices, classes and special numbers."""


def names_of_arguments(name: str) -> list[str]:
    """Names in the operator's schema."""
    schema = getattr(torch.ops.centermask, name).default._schema
    return [argument.name for argument in schema.arguments]
