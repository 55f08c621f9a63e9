"""The work that operators are timed at: the sizes of CenterMask R-50 on a 1333 x 800 image."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, one_hot
from torchvision import ops as vision

from benchmarks.measure import Work
from maskrcnn_benchmark import layers

IMAGE_WH = (1333, 800)
STRIDE = 8
FLOAT = 4


class Case(NamedTuple):
    """The same work done by this package and by another.

    Attributes:
        title: operator and sizes.
        ours: one call here.
        theirs: the other's.
        peer: who the other is.
        goal: how many times faster ours should be at least.
        num_bytes: memory traffic that cannot be avoided.
        num_flops: arithmetic that cannot be avoided.
    """

    title: str
    ours: Work
    theirs: Work
    peer: str
    goal: float
    num_bytes: float = 0
    num_flops: float = 0


def random_boxes(count: int, *, largest: float = 300.0) -> Tensor:
    """(count, 4) boxes xyxy of 16 to 16 + largest px a side in an image of IMAGE_WH."""
    room = torch.tensor(IMAGE_WH) - 16.0 - largest
    corners = torch.rand(count, 2) * room
    return torch.cat([corners, corners + 16 + largest * torch.rand(count, 2)], dim=1)


def pairs_compared(keep: Tensor) -> int:
    """Pairs that greedy suppression cannot do without: kept boxes with all of lower rank."""
    ranks = keep.nonzero().squeeze(1)
    return int((len(keep) - 1 - ranks).sum())


def nms_cases(count: int, *, largest: float = 300.0) -> list[Case]:
    """Suppression, sorting included; about ten operations and a division a pair."""
    boxes, scores = random_boxes(count, largest=largest), torch.linspace(1, 0, count)
    labels = torch.randint(1, 81, (count,))
    keep = torch.ops.centermask.nms_keep(boxes, None, 0.6)
    kept = int(keep.sum())
    alone = Case(
        title=f"nms, {count} boxes, {kept} kept",
        ours=lambda: layers.nms(boxes, scores, 0.6),
        theirs=lambda: vision.nms(boxes, scores, 0.6),
        peer="torchvision",
        goal=8,
        num_bytes=count * 4 * FLOAT,
        num_flops=14 * pairs_compared(keep),
    )
    by_class = Case(
        title=f"ml_nms, {count} boxes of 80 classes",
        ours=lambda: layers.ml_nms(boxes, scores, labels, 0.6),
        theirs=lambda: vision.batched_nms(boxes, scores, labels, 0.6),
        peer="torchvision batched_nms",
        goal=6,
        num_bytes=count * 4 * FLOAT,
        num_flops=14 * count * count / 2 / 80,
    )
    return [alone, by_class]


def roi_align_cases(count: int, side: int, ratio: int) -> list[Case]:
    """Both directions on the finest level; the map and the pooled features move once."""
    features = torch.rand(1, 256, 100, 168)
    last = features.contiguous(memory_format=torch.channels_last)
    rois = torch.cat([torch.zeros(count, 1), random_boxes(count)], dim=1)
    grad = torch.rand(count, 256, side, side)
    settings = (rois, side, 1 / STRIDE, ratio)
    backward = (rois, 1 / STRIDE, *features.shape, ratio)
    theirs = torch.ops.torchvision
    size = f"{count} x 256 x {side} x {side}, sampling {ratio}"
    traffic = features.nbytes + grad.nbytes
    forward = Case(
        title=f"roi_align {size}",
        ours=lambda: layers.roi_align(features, *settings),
        theirs=lambda: theirs.roi_align(features, rois, 1 / STRIDE, side, side, ratio, False),
        peer="torchvision",
        goal=5 if side == 14 else 10,
        num_bytes=traffic,
    )
    return [
        forward,
        forward._replace(
            title=f"roi_align {size}, channels last", ours=lambda: layers.roi_align(last, *settings)
        ),
        Case(
            title=f"roi_align backward {size}",
            ours=lambda: torch.ops.centermask.roi_align_backward(grad, *backward),
            theirs=lambda: theirs._roi_align_backward(
                grad, rois, 1 / STRIDE, side, side, *features.shape, ratio, False
            ),
            peer="torchvision",
            goal=15,
            num_bytes=traffic,
        ),
    ]


def roi_pool_case(count: int, side: int) -> Case:
    """Maxima of cells, forward; no goal was set."""
    features = torch.rand(1, 256, 100, 168)
    rois = torch.cat([torch.zeros(count, 1), random_boxes(count)], dim=1)
    return Case(
        title=f"roi_pool {count} x 256 x {side} x {side}",
        ours=lambda: layers.roi_pool(features, rois, side, 1 / STRIDE),
        theirs=lambda: vision.roi_pool(features, rois, side, 1 / STRIDE),
        peer="torchvision",
        goal=1,
        # Maxima, and the cells that they come from as 64-bit numbers.
        num_bytes=features.nbytes + 3 * FLOAT * count * 256 * side * side,
    )


def group_norm_cases(channels: int, height: int, width: int) -> list[Case]:
    """The norm of a tower, channels last; the map is read twice and written."""
    maps = torch.randn(1, channels, height, width).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.rand(2, channels)

    def case(of: Tensor, name: str) -> Case:
        parameters = weight.to(of), bias.to(of)
        return Case(
            title=f"group norm and relu, {channels} x {height} x {width}, {name}",
            ours=lambda: layers.group_norm_relu(of, 32, weight, bias),
            theirs=lambda: torch.group_norm(of, 32, *parameters).relu_(),
            peer="PyTorch",
            goal=1,
            num_bytes=3 * of.nbytes,
        )

    return [case(maps, "float32"), case(maps.bfloat16(), "bfloat16")]


def winograd_cases(channels: int, height: int, width: int) -> list[Case]:
    """A layer of a tower, channels last, against the same layer of oneDNN with packed weights."""
    maps = torch.randn(1, channels, height, width).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(channels, channels, 3, 3) / 48, torch.randn(channels)
    packed, integers = (
        layers.pack_winograd_weight(weight),
        layers.pack_winograd_weight_int16(weight),
    )
    sizes = ((1, 1), (1, 1), (1, 1), 1)

    def case(of: Tensor, name: str, ours: Callable[[], object], num_bytes: int) -> Case:
        theirs = torch.ops.mkldnn._reorder_convolution_weight(weight.to(of), *sizes, of.shape)
        of_bias = bias.to(of)
        return Case(
            title=f"3 x 3 convolution and relu, {channels} x {height} x {width}, {name}",
            ours=ours,
            theirs=lambda: torch.ops.mkldnn._convolution_pointwise(
                of, theirs, of_bias, *sizes, "relu", [], ""
            ),
            peer="oneDNN",
            goal=1,
            num_bytes=2 * of.nbytes + num_bytes,
            # A quarter of those of the plain sum.
            num_flops=2 * 9 / 4 * channels * channels * height * width,
        )

    cases = []
    for of, name in ((maps, "float32"), (maps.bfloat16(), "bfloat16")):
        plain = partial(layers.winograd_conv3x3, of, packed, bias, 1, True)
        cases.append(case(of, name, plain, packed.nbytes))
        rounded = partial(layers.winograd_conv3x3_int16, of, integers, bias, 1, True)
        products = f"{name}, products of int16"
        cases.append(case(of, products, rounded, integers.integers.nbytes))
    return cases


def pointwise_case(channels: int, outputs: int, height: int, width: int) -> Case:
    """A convolution of one cell with a sum behind it, against oneDNN in float32."""
    maps, addend = (
        torch.randn(1, c, height, width).contiguous(memory_format=torch.channels_last)
        for c in (channels, outputs)
    )
    weight, bias = torch.randn(outputs, channels, 1, 1) / channels**0.5, torch.randn(outputs)
    integers, sizes = layers.pack_pointwise_weight_int16(weight), ((0, 0), (1, 1), (1, 1), 1)
    last = weight.contiguous(memory_format=torch.channels_last)
    return Case(
        title=f"1 x 1 convolution, sum and relu, {channels} to {outputs} x {height} x {width}, "
        "float32, products of int16",
        ours=lambda: layers.pointwise_conv_int16(maps, integers, bias, addend, 1, 0.0),
        theirs=lambda: torch.ops.mkldnn._convolution_pointwise(
            maps, addend, last, bias, *sizes, "add", 1.0, "relu", [], None
        ),
        peer="oneDNN",
        goal=1,
        num_bytes=maps.nbytes + 2 * addend.nbytes + integers.integers.nbytes,
        num_flops=2 * channels * outputs * height * width,
    )


def inverted_residual_case(channels: int, height: int, width: int) -> Case:
    """A block of MobileNetV2, channels last, against oneDNN's three convolutions."""
    maps = torch.randn(1, channels, height, width).contiguous(memory_format=torch.channels_last)
    between = 6 * channels
    parts = [
        (torch.randn(sides) / (sides[1] * sides[2] * sides[3]) ** 0.5, torch.randn(sides[0]))
        for sides in ((between, channels, 1, 1), (between, 1, 3, 3), (channels, between, 1, 1))
    ]
    packed = layers.pack_inverted_residual(*parts)
    (first, second, third), biases = zip(*parts, strict=True)
    cells, rows = ((0, 0), (1, 1), (1, 1), 1), ((1, 1), (1, 1), (1, 1), between)
    second = torch.ops.mkldnn._reorder_convolution_weight(
        second, *rows, (1, between, height, width)
    )

    def theirs() -> Tensor:
        convolve, relu6 = torch.ops.mkldnn._convolution_pointwise, ("hardtanh", [0.0, 6.0], "")
        x = convolve(maps, first, biases[0], *cells, *relu6)
        x = convolve(x, second, biases[1], *rows, *relu6)
        result: Tensor = convolve(x, maps, third, biases[2], *cells, "add", 1.0, None, [], None)
        return result

    return Case(
        title=f"inverted residual block, {channels} x {height} x {width}",
        ours=lambda: layers.inverted_residual(maps, *packed, channels, adds_input=True),
        theirs=theirs,
        peer="oneDNN",
        goal=1,
        num_bytes=2 * maps.nbytes,
        num_flops=2 * between * (2 * channels + 9) * height * width,
    )


def tower_cases(channels: int, num_convs: int, sizes: Sequence[tuple[int, int]]) -> list[Case]:
    """A tower of FCOS over all levels, channels last, against PyTorch's layers; then integers."""
    maps = [torch.randn(1, channels, *hw) for hw in sizes]
    maps = [each.contiguous(memory_format=torch.channels_last) for each in maps]
    norm = torch.ones(channels), torch.zeros(channels)

    def conv(outputs: int) -> layers.TowerConv:
        weight = torch.randn(outputs, channels, 3, 3) / (9 * channels) ** 0.5
        weight = weight.contiguous(memory_format=torch.channels_last)
        has_norm = outputs == channels
        bias = torch.zeros(outputs)
        return layers.TowerConv(weight=weight, bias=bias, norm=norm if has_norm else None)

    convs, output = [conv(channels) for _ in range(num_convs)], conv(4)

    def theirs() -> list[Tensor]:
        results = []
        for x in maps:
            for each in convs:
                y = conv2d(x, each.weight, each.bias, padding=1)
                x = group_norm(y, 32, *norm).relu_()
            results.append(conv2d(x, output.weight, output.bias, padding=1))
        return results

    num_cells = sum(height * width for height, width in sizes)
    (height, width), *_ = sizes
    size = f"{num_convs} x {channels} channels, {len(sizes)} levels from {height} x {width}"
    cases = []
    for products, name in ((torch.float32, "tower"), (torch.int16, "tower, integers")):
        packed = layers.pack_conv_tower(convs, [output], num_groups=32, products=products)
        cases.append(
            Case(
                title=f"{name} {size}",
                ours=partial(layers.conv_tower, maps, packed),
                theirs=theirs,
                peer="PyTorch",
                goal=1,
                num_bytes=sum(each.nbytes for each in maps) + packed.numbers.nbytes,
                num_flops=2 * 9 * channels * (num_convs * channels + 4) * num_cells,
            )
        )
    return cases


def scores_case(num_classes: int, height: int, width: int) -> Case:
    """A trained detector's finest level, channels last; the logits are read once."""
    maps = torch.randn(1, num_classes, height, width) - 6
    logits = maps.contiguous(memory_format=torch.channels_last)

    def theirs() -> tuple[Tensor, Tensor]:
        scores = logits.permute(0, 2, 3, 1).reshape(-1, num_classes).sigmoid()
        places = torch.nonzero(scores > 0.05, as_tuple=True)
        return places[0], scores[places]

    return Case(
        title=f"scores above 0.05, {num_classes} x {height} x {width}",
        ours=lambda: layers.scores_above(logits, num_classes, 0.05),
        theirs=theirs,
        peer="sigmoid, nonzero",
        goal=1,
        num_bytes=logits.nbytes,
    )


def focal_case(num_locations: int, num_classes: int) -> Case:
    """Summed loss and its gradient, one location in a hundred positive."""
    logits = (torch.randn(num_locations, num_classes) * 2 - 4).requires_grad_()
    is_positive = torch.rand(num_locations) < 0.01
    targets = torch.randint(1, num_classes + 1, (num_locations,)) * is_positive
    hot = one_hot(targets, num_classes + 1)[:, 1:].float()
    loss = layers.SigmoidFocalLoss(2.0, 0.25)

    def differentiate(total: Tensor) -> Tensor:
        return torch.autograd.grad(total, logits)[0]

    return Case(
        title=f"focal loss and gradient, {num_locations} x {num_classes}",
        ours=lambda: differentiate(loss(logits, targets)),
        theirs=lambda: differentiate(
            vision.sigmoid_focal_loss(logits, hot, 0.25, 2.0, reduction="sum")
        ),
        peer="torchvision",
        goal=10,
        # Logits read and written about twice, losses summed; an exponential, a logarithm and two
        # quotients each way.
        num_bytes=5 * logits.nbytes,
        num_flops=100 * logits.numel(),
    )


def deform_conv_case(channels: int, height: int, width: int) -> Case:
    """Modulated 3 x 3 convolution: bilinear samples and a matrix product."""
    maps = torch.rand(1, channels, height, width)
    offset = torch.randn(1, 18, height, width)
    mask = torch.rand(1, 9, height, width)
    weight = torch.rand(channels, channels, 3, 3)
    samples = 9 * height * width * channels
    return Case(
        title=f"deform_conv v2 3 x 3, {channels} to {channels} channels, {height} x {width}",
        ours=lambda: layers.modulated_deform_conv(maps, offset, mask, weight, None, 1, 1),
        theirs=lambda: vision.deform_conv2d(maps, offset, weight, padding=1, mask=mask),
        peer="torchvision",
        goal=3,
        num_bytes=2 * maps.nbytes,
        num_flops=2 * channels * samples + 8 * samples,
    )
