import math

import pytest
import torch

from maskrcnn_benchmark.layers import (
    DeformRoIPooling,
    DeformRoIPoolingPack,
    ModulatedDeformRoIPoolingPack,
    deform_roi_pooling,
)
from tests.layers.op_cases.deform_psroi_pooling import call
from tests.layers.twins import TWINS

OPS = torch.ops.centermask


def test_bins_average_samples_from_their_corner_on():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    # Columns 1..4 of pixels are places 0.5..4.5: bins of two, samples at 0.5, 1.5 and 2.5, 3.5.
    roi = torch.tensor([[0.0, 1, 1, 4, 4]])
    pooled = deform_roi_pooling(ramp, roi, ramp.new_empty(0), 1.0, 2, 1, True, sample_per_part=2)
    assert pooled[0, 0].tolist() == [[1.0, 3.0], [1.0, 3.0]]


def test_offsets_are_shares_of_the_extent_right_before_down():
    across = torch.arange(8.0).expand(1, 1, 8, 8)
    roi = torch.tensor([[0.0, 1, 1, 4, 4]])
    offset = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    for maps, expected in ((across, 1.0 + 0.4), (across.transpose(2, 3), 1.0 + 0.8)):
        pooled = deform_roi_pooling(maps, roi, offset, 1.0, 2, 1, False, 1, 1, 2, 0.1)
        assert pooled[0, 0, 0, 0] == pytest.approx(expected)


def test_groups_read_their_own_maps():
    maps = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 6, 6)
    roi = torch.tensor([[0.0, 0, 0, 5, 5]])
    pooled = deform_roi_pooling(maps, roi, maps.new_empty(0), 1.0, 4, 2, True, group_size=2)
    left_and_right = [[0.0, 0, 1, 1]] * 2 + [[2.0, 2, 3, 3]] * 2
    assert pooled[0, 0].tolist() == left_and_right
    assert (pooled[0, 1] - 4).tolist() == left_and_right


def test_samples_beyond_half_a_cell_do_not_count():
    ones = torch.ones(1, 1, 4, 4)
    rois = torch.tensor([[0.0, -4, 0, 3, 3], [0, -9, -9, -5, -5]])
    pooled = deform_roi_pooling(ones, rois, ones.new_empty(0), 1.0, 2, 1, True, sample_per_part=4)
    assert pooled[0, 0].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert not pooled[1].any()


def naive(data, rois, offset, scale, channels, bins, group, parts, samples, factor):
    """The same with loops and plain numbers."""
    result = data.new_zeros(len(rois), channels, bins, bins)
    classes = offset.shape[1] // 2
    height, width = data.shape[2:]

    def rounded(x):
        return math.copysign(math.floor(abs(x) + 0.5), x)

    def value(plane, y, x):
        y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
        y0, x0 = math.floor(y), math.floor(x)
        y1, x1 = math.ceil(y), math.ceil(x)
        upper = plane[y0, x0] * (1 - (x - x0)) + plane[y0, x1] * (x - x0)
        lower = plane[y1, x0] * (1 - (x - x0)) + plane[y1, x1] * (x - x0)
        return float(upper * (1 - (y - y0)) + lower * (y - y0))

    for r, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        left, top = rounded(x1) * scale - 0.5, rounded(y1) * scale - 0.5
        wide = max((rounded(x2) + 1) * scale - 0.5 - left, 0.1)
        high = max((rounded(y2) + 1) * scale - 0.5 - top, 0.1)
        for c in range(channels):
            label = c // (channels // classes)
            for p in range(bins):
                for q in range(bins):
                    shift = offset[r, 2 * label : 2 * label + 2, p * parts // bins, :]
                    right, down = (shift[:, q * parts // bins] * factor).tolist()
                    source = (c * group + p * group // bins) * group + q * group // bins
                    places = [
                        (
                            top + p * high / bins + down * high + i * high / bins / samples,
                            left + q * wide / bins + right * wide + j * wide / bins / samples,
                        )
                        for i in range(samples)
                        for j in range(samples)
                    ]
                    values = [
                        value(data[int(image), source], y, x)
                        for y, x in places
                        if -0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5
                    ]
                    result[r, c, p, q] = sum(values) / max(len(values), 1)
    return result


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"classes": 2, "output_channels": 4, "group_size": 2, "part_size": 2},
        {"samples_per_part": 3, "offset_scale": 1.0, "pooled_size": 2},
    ],
)
def test_agrees_with_naive_loop(settings):
    arguments = call(torch.float64, 4, **settings)
    expected = naive(*arguments)
    for function in (OPS.deform_psroi_pooling, TWINS.deform_psroi_pooling):
        torch.testing.assert_close(function(*arguments), expected)


@pytest.mark.parametrize("settings", [{}, {"classes": 2, "group_size": 2, "part_size": 2}])
def test_gradcheck(settings):
    data, rois, offset, *rest = call(torch.float64, 3, **settings)

    def pooled(data, offset):
        return OPS.deform_psroi_pooling(data, rois, offset, *rest)

    assert torch.autograd.gradcheck(pooled, (data.requires_grad_(), offset.requires_grad_()))
    assert torch.autograd.gradcheck(lambda data: pooled(data, None), data)


@pytest.mark.parametrize("shape", [(2, 3, 9, 13), (0, 3, 9, 13), (1, 3, 1, 1)])
def test_no_rois(shape):
    data = torch.randn(shape, requires_grad=True)
    offset = torch.zeros(0, 2, 7, 7, requires_grad=True)
    pooled = deform_roi_pooling(data, torch.zeros(0, 5), offset, 0.25, 7, 3, False)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert torch.equal(data.grad, torch.zeros(shape))
    assert offset.grad.shape == (0, 2, 7, 7)


def test_thread_count_changes_no_bit():
    arguments = call(torch.float32, 20, output_channels=8)
    grad = OPS.deform_psroi_pooling(*arguments).cos()
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            results.append(OPS.deform_psroi_pooling_backward(grad, *arguments))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(dtype):
    data, rois, offset, *rest = call(torch.float32, 3)
    settings = (0.25, 3, 2, False, 1, 3, 2, 0.1)
    expected = deform_roi_pooling(data.to(dtype).float(), rois, offset, *settings)
    pooled = deform_roi_pooling(data.to(dtype), rois, offset, *settings)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, expected.to(dtype))
    with torch.autocast("cpu", dtype):
        pooled = OPS.deform_psroi_pooling(data.to(dtype), rois, offset, *rest)
    assert torch.equal(pooled, expected)


def test_packs_start_as_pooling_without_offsets():
    data, rois, *_ = call(torch.float32, 4)
    settings = {"spatial_scale": 0.25, "out_size": 3, "out_channels": 2, "trans_std": 0.1}
    plain = DeformRoIPooling(**settings, no_trans=True)(data, rois, data.new_empty(0))
    pack = DeformRoIPoolingPack(**settings, no_trans=False, deform_fc_channels=8)
    assert torch.equal(pack(data, rois), plain)
    modulated = ModulatedDeformRoIPoolingPack(**settings, no_trans=False, deform_fc_channels=8)
    assert torch.equal(modulated(data, rois), plain / 2)
    for module in (pack, modulated):
        torch.nn.init.normal_(module.offset_fc[-1].weight)
        module(data, rois).square().sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        assert module.offset_fc[0].weight.grad.any()
    for kind in (DeformRoIPoolingPack, ModulatedDeformRoIPoolingPack):
        still = kind(**settings, no_trans=True)
        assert torch.equal(still(data, rois), plain)
        assert not list(still.parameters())


def test_parameter_names_are_those_of_old_checkpoints():
    module = ModulatedDeformRoIPoolingPack(0.25, 2, 3, False, deform_fc_channels=5)
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == {
        "offset_fc.0.weight": (5, 12),
        "offset_fc.0.bias": (5,),
        "offset_fc.2.weight": (5, 5),
        "offset_fc.2.bias": (5,),
        "offset_fc.4.weight": (8, 5),
        "offset_fc.4.bias": (8,),
        "mask_fc.0.weight": (5, 12),
        "mask_fc.0.bias": (5,),
        "mask_fc.2.weight": (4, 5),
        "mask_fc.2.bias": (4,),
    }
    assert repr(DeformRoIPooling(0.25, 2, 3, True)) == (
        "DeformRoIPooling(spatial_scale=0.25, out_size=2, out_channels=3, no_trans=True, "
        "group_size=1, part_size=2, sample_per_part=4, trans_std=0.0)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": torch.zeros(2, 9, 13)}, r"data: .*\(N, 2, H, W\), got \(2, 9, 13\)"),
        ({"data": torch.zeros(1, 3, 9, 13)}, r"data: .*\(N, 2, H, W\), got \(1, 3, 9, 13\)"),
        ({"rois": torch.zeros(1, 4)}, r"rois: .*\(R, 5\), got \(1, 4\)"),
        ({"offset": torch.zeros(1, 2, 3, 2)}, r"offset: .*\(1, 2 K, 3, 3\).*\(1, 2, 3, 2\)"),
        ({"offset": torch.zeros(1, 6, 3, 3)}, r"offset: .*got \(1, 6, 3, 3\)"),
        ({"offset": torch.zeros(2, 2, 3, 3)}, r"offset: .*got \(2, 2, 3, 3\)"),
        ({"out_size": 0}, r"out_size: .*got 0"),
        ({"group_size": -1}, r"group_size: .*got -1"),
        ({"part_size": 0}, r"part_size: .*got 0"),
        ({"sample_per_part": 0}, r"sample_per_part: .*got 0"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "data": torch.zeros(1, 2, 9, 13),
        "rois": torch.zeros(1, 5),
        "offset": torch.zeros(1, 2, 3, 3),
        "spatial_scale": 0.25,
        "out_size": 3,
        "out_channels": 2,
        "no_trans": False,
    }
    with pytest.raises(ValueError, match=message):
        deform_roi_pooling(**{**arguments, **changes})


@pytest.mark.parametrize("image", [-1.0, 2.0, float("nan")])
def test_image_index_out_of_range_is_refused(image):
    arguments = call(torch.float32, 3)
    arguments.rois[1, 0] = image
    for function in (OPS.deform_psroi_pooling, TWINS.deform_psroi_pooling):
        with pytest.raises((RuntimeError, ValueError), match=r"rois: .*\[0, 2\).*row 1"):
            function(*arguments)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiles_and_exports():
    def pooled(data, rois, offset):
        return deform_roi_pooling(data, rois, offset, 0.25, 3, 2, False, trans_std=0.1)

    compiled = torch.compile(pooled, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (5, 9):
        data, rois, offset, *_ = call(torch.float32, count)
        leaves = data.requires_grad_(), offset.requires_grad_()
        gradients = [
            torch.autograd.grad(function(data, rois, offset).square().sum(), leaves)
            for function in (pooled, compiled)
        ]
        torch.testing.assert_close(*gradients)
    module = ModulatedDeformRoIPoolingPack(0.25, 3, 2, False, deform_fc_channels=4).eval()
    auto = torch.export.Dim.AUTO
    example = data.detach(), rois
    program = torch.export.export(module, example, dynamic_shapes=({2: auto, 3: auto}, {0: auto}))
    data, rois, *_ = call(torch.float32, 4, hw=(20, 21))
    torch.testing.assert_close(program.module()(data, rois), module(data, rois))
