import math

import pytest
import torch

from maskrcnn_benchmark.layers import deform_conv, modulated_deform_conv
from tests.layers import oracles
from tests.layers.inputs import GEOMETRY, random_deformation


def test_whole_offsets_read_whole_cells():
    ramp = torch.arange(12.0).view(1, 1, 3, 4)
    offset = torch.zeros(1, 2, 3, 4)
    offset[:, 0], offset[:, 1] = 1.0, -2.0
    # One row down and two columns to the left; zeros outside.
    output = deform_conv(ramp, offset, torch.ones(1, 1, 1, 1))
    assert output[0, 0].tolist() == [[0, 0, 4, 5], [0, 0, 8, 9], [0, 0, 0, 0]]


def test_samples_are_interpolated_and_weighed():
    ramp = torch.arange(12.0).view(1, 1, 3, 4)
    offset = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    mask = torch.full((1, 1, 3, 4), 2.0)
    bias = torch.tensor([100.0])
    output = modulated_deform_conv(ramp, offset, mask, torch.ones(1, 1, 1, 1), bias)
    # Cell (0, 0): half way between rows 0.25 and 4.25, twice; corner: a quarter x half of 11.
    assert output[0, 0, 0, 0] == 100 + 2 * 2.25
    assert output[0, 0, 2, 3] == 100 + 2 * 11 * 0.5 * 0.75


def test_without_offsets_it_is_convolution():
    features, offset, mask, weight = random_deformation(kernel=(3, 3), groups=2)
    expected = torch.nn.functional.conv2d(features, weight, groups=2, **GEOMETRY)
    output = deform_conv(features, torch.zeros_like(offset), weight, groups=2, **GEOMETRY)
    torch.testing.assert_close(output, expected)
    ones = torch.ones_like(mask)
    output = modulated_deform_conv(features, 0 * offset, ones, weight, groups=2, **GEOMETRY)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize(("groups", "deformable_groups"), [(1, 1), (2, 1), (1, 2), (2, 4)])
def test_agrees_with_naive_loop(groups, deformable_groups):
    case = random_deformation(groups=groups, deformable_groups=deformable_groups)
    features, offset, mask, weight = case
    parts = {"groups": groups, "deformable_groups": deformable_groups}
    output = modulated_deform_conv(*case, **GEOMETRY, **parts)
    torch.testing.assert_close(output, oracles.deform_conv(*case, **GEOMETRY, **parts))
    output = deform_conv(features, offset, weight, **GEOMETRY, **parts)
    ones = torch.ones_like(mask)
    expected = oracles.deform_conv(features, offset, ones, weight, **GEOMETRY, **parts)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize(("groups", "deformable_groups"), [(1, 1), (2, 1), (4, 2)])
@pytest.mark.parametrize("modulated", [True, False])
def test_same_values_and_gradients_as_torchvision(groups, deformable_groups, modulated):
    torchvision = pytest.importorskip("torchvision")
    case = random_deformation(
        channels=8, outputs=4, kernel=(3, 3), groups=groups, deformable_groups=deformable_groups
    )
    bias = torch.randn(4, dtype=torch.float64)
    results = []
    for ours in (True, False):
        features, offset, mask, weight = (x.clone().requires_grad_() for x in case)
        used = [features, offset, weight, *([mask] if modulated else [])]
        parts = {"groups": groups, "deformable_groups": deformable_groups}
        if not ours:
            output = torchvision.ops.deform_conv2d(
                features, offset, weight, bias, mask=mask if modulated else None, **GEOMETRY
            )
        elif modulated:
            output = modulated_deform_conv(
                features, offset, mask, weight, bias, **GEOMETRY, **parts
            )
        else:
            output = deform_conv(features, offset, weight, **GEOMETRY, **parts)
            output = output + bias[:, None, None]
        slopes = torch.arange(output.numel(), dtype=output.dtype).cos().view_as(output)
        results.append((output.detach(), *torch.autograd.grad((output * slopes).sum(), used)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradcheck():
    case = [x.requires_grad_() for x in random_deformation(channels=2, outputs=2, kernel=(2, 2))]
    assert torch.autograd.gradcheck(
        lambda *tensors: modulated_deform_conv(*tensors, **GEOMETRY), tuple(case)
    )


def test_no_images():
    features = torch.zeros(0, 4, 5, 5, requires_grad=True)
    weight = torch.ones(6, 4, 3, 3, requires_grad=True)
    output = deform_conv(features, torch.zeros(0, 18, 5, 5), weight, padding=1)
    assert output.shape == (0, 6, 5, 5)
    output.sum().backward()
    assert features.grad.shape == features.shape
    assert torch.equal(weight.grad, torch.zeros_like(weight))


def test_map_of_one_cell():
    features = torch.full((1, 1, 1, 1), 3.0)
    offset = torch.tensor([[-0.5, 0.0], [-1.0, 0.0], [1.0, 0.5]])
    outputs = [
        deform_conv(features, shift.view(1, 2, 1, 1), torch.ones(1, 1, 1, 1)).item()
        for shift in offset
    ]
    assert outputs == [1.5, 0.0, 0.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_offsets_that_are_no_places_read_zeros(value):
    features, weight = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 1, 1)
    offset = torch.zeros(1, 2, 4, 4)
    offset[0, 1, 2, 3] = value
    output = deform_conv(features, offset, weight)
    assert output[0, 0, 2, 3] == 0
    assert output.sum() == 2 * 15


def test_half_precision_returns_its_own_type():
    features, offset, mask, weight = (x.float() for x in random_deformation())
    expected = modulated_deform_conv(
        features.half().float(), offset, mask, weight.half().float(), **GEOMETRY
    )
    output = modulated_deform_conv(features.half(), offset, mask, weight.half(), **GEOMETRY)
    assert output.dtype == torch.float16
    assert torch.equal(output, expected.half())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": torch.zeros(4, 7, 6)}, r"input: .*\(N, C, H, W\), got \(4, 7, 6\)"),
        ({"weight": torch.zeros(6, 4, 3)}, r"weight: .*got \(6, 4, 3\)"),
        ({"weight": torch.zeros(6, 3, 3, 3)}, r"weight: .*\(O, 4, kernel .*got \(6, 3, 3, 3\)"),
        ({"offset": torch.zeros(2, 9, 7, 6)}, r"offset: .*\(2, 18, 7, 6\), got \(2, 9, 7, 6\)"),
        ({"offset": torch.zeros(2, 18, 7, 5)}, r"offset: .*\(2, 18, 7, 6\), got \(2, 18, 7, 5\)"),
        ({"mask": torch.zeros(1, 9, 7, 6)}, r"mask: .*\(2, 9, 7, 6\), got \(1, 9, 7, 6\)"),
        ({"bias": torch.zeros(5)}, r"bias: .*\(6,\), got \(5,\)"),
        ({"stride": 0}, r"stride: .*at least 1, got \(0, 0\)"),
        ({"padding": (0, -1)}, r"padding: .*at least 0, got \(0, -1\)"),
        ({"dilation": 0}, r"dilation: .*at least 1"),
        ({"dilation": 5}, r"input: .*\(7, 6\).*\(-1, -2\)"),
        ({"groups": 3}, r"^groups: .*4.*6.*got 3"),
        ({"deformable_groups": 3}, r"deformable_groups: .*4.*got 3"),
        ({"deformable_groups": 2}, r"offset: .*\(2, 36, 7, 6\), got \(2, 18, 7, 6\)"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "input": torch.zeros(2, 4, 7, 6),
        "offset": torch.zeros(2, 18, 7, 6),
        "mask": torch.zeros(2, 9, 7, 6),
        "weight": torch.zeros(6, 4, 3, 3),
        "padding": 1,
    }
    with pytest.raises(ValueError, match=message):
        modulated_deform_conv(**{**arguments, **changes})
