import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from maskrcnn_benchmark.layers import FrozenBatchNorm2d, MinimalConv2d, conv3x3, conv_norm
from tests.layers.op_cases.case import seeded


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


def layer(channels, outputs, *, padding=1, seed=1):
    """Weight and bias whose results are of the size of the input."""
    weight = drawn(outputs, channels, 3, 3, seed=seed) / math.sqrt(9 * max(channels, 1))
    return weight, drawn(outputs, seed=seed + 1), padding


def results(compute, dtype, maps, weight, bias, padding):
    """The convolution and the gradients of all its arguments, for a drawn gradient of its own."""
    inputs = [each.detach().to(dtype).requires_grad_() for each in (maps, weight, bias)]
    result = compute(*inputs, padding=padding)
    grad = drawn(*result.shape, seed=7).to(dtype)
    return [result.detach(), *torch.autograd.grad(result, inputs, grad)]


@pytest.mark.parametrize(
    ("shape", "outputs", "padding"),
    [
        ((1, 1, 1, 1), 1, 1),
        ((2, 5, 3, 9), 7, 0),
        ((2, 16, 6, 5), 20, 2),
        ((1, 64, 13, 17), 80, 1),
        ((3, 33, 14, 14), 32, 1),
    ],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_result_and_gradients_are_the_plain_ones(shape, outputs, padding, layout):
    maps = drawn(*shape).to(memory_format=layout)
    arguments = (maps, *layer(shape[1], outputs, padding=padding))
    found = results(conv3x3, torch.float32, *arguments)
    exact = results(F.conv2d, torch.float64, *arguments)
    for mine, expected in zip(found, exact, strict=True):
        assert mine.dtype == torch.float32
        # Measured: 1.3e-6 of the greatest.
        atol = 4e-6 * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(mine.double(), expected, rtol=0, atol=atol)


def test_rounding_is_a_few_times_the_plain_one():
    arguments = (drawn(2, 128, 40, 40), *layer(128, 128))
    exact = results(F.conv2d, torch.float64, *arguments)
    found = results(conv3x3, torch.float32, *arguments)
    plain = results(F.conv2d, torch.float32, *arguments)
    for mine, theirs, expected in zip(found, plain, exact, strict=True):
        error, usual = ((x - expected).double().norm() for x in (mine, theirs))
        # Measured: 3.5, 3.7, 1.0 and 0.1, where the plain one is 1.7e-7, 2.2e-7, 1e-6 and 1e-6.
        assert error < 8 * usual


def test_bfloat16_is_rounded_where_it_is_stored():
    weight, bias, padding = layer(64, 64)
    maps = drawn(1, 64, 20, 24).bfloat16()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    maps.requires_grad_()
    result = conv3x3(maps, *parameters, padding)
    grad = drawn(*result.shape, seed=7).bfloat16()
    gradients = torch.autograd.grad(result, [maps, *parameters], grad)
    exact = results(F.conv2d, torch.float64, maps, weight, bias, padding)[0]
    assert [each.dtype for each in (result, *gradients)] == [
        torch.bfloat16,
        torch.bfloat16,
        torch.float32,
        torch.float32,
    ]
    torch.testing.assert_close(result.double(), exact, rtol=2**-8, atol=1e-4)


def test_gradients_that_nobody_wants_are_not_computed():
    maps, (weight, bias, _) = drawn(1, 4, 5, 6), layer(4, 3)
    conv3x3(maps, weight.requires_grad_(), bias).sum().backward()
    assert weight.grad is not None
    assert maps.grad is None
    conv3x3(maps.requires_grad_(), weight.detach(), bias).sum().backward()
    assert maps.grad is not None
    assert not conv3x3(maps.detach(), weight.detach(), None).requires_grad


@pytest.mark.parametrize(
    ("shape", "outputs"), [((0, 4, 5, 6), 3), ((2, 0, 5, 6), 3), ((2, 4, 5, 6), 0)]
)
def test_nothing_is_ordinary(shape, outputs):
    arguments = (drawn(*shape), *layer(shape[1], outputs))
    found = results(conv3x3, torch.float32, *arguments)
    sizes = [(shape[0], outputs, 5, 6), shape, (outputs, shape[1], 3, 3), (outputs,)]
    assert [tuple(each.shape) for each in found] == sizes
    assert not any(bool(each.any()) for each in found[1:3])
    grad = drawn(*sizes[0], seed=7)
    torch.testing.assert_close(found[3], grad.sum((0, 2, 3)))


def test_second_derivatives_are_the_plain_ones():
    maps, (weight, bias, padding) = drawn(2, 3, 5, 6), layer(3, 4)

    def second(compute, dtype):
        inputs = [each.detach().to(dtype).requires_grad_() for each in (maps, weight, bias)]
        result = compute(*inputs, padding=padding).square().sum()
        first = torch.autograd.grad(result, inputs, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), inputs)

    for mine, expected in zip(
        second(conv3x3, torch.float32), second(F.conv2d, torch.float64), strict=True
    ):
        torch.testing.assert_close(mine.double(), expected, rtol=1e-4, atol=1e-3)


def test_results_may_be_changed_in_place():
    maps, (weight, bias, _) = drawn(1, 4, 5, 6), layer(4, 3)
    result = torch.relu_(conv3x3(maps, weight.requires_grad_(), bias))
    result.sum().backward()
    copied = weight.detach().clone().requires_grad_()
    F.conv2d(maps, copied, bias, padding=1).relu().sum().backward()
    torch.testing.assert_close(weight.grad, copied.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": torch.zeros(4, 3)}, "input"),
        ({"weight": torch.zeros(3, 5, 3, 3)}, "weight"),
        ({"weight": torch.zeros(3, 4, 1, 1)}, "weight"),
        ({"bias": torch.zeros(4)}, "bias"),
        ({"padding": 3}, "padding"),
        ({"input": torch.zeros(1, 4, 2, 5), "padding": 0}, "padding"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    arguments = {"input": torch.zeros(1, 4, 5, 6), "weight": torch.zeros(3, 4, 3, 3), "bias": None}
    with pytest.raises(ValueError, match=message):
        conv3x3(**(arguments | changes))


def as_minimal(conv):
    twin = copy.deepcopy(conv)
    twin.__class__ = MinimalConv2d
    return twin


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"padding": 1}, True),
        ({"padding": 0}, True),
        ({"padding": 3}, False),
        ({"padding": "same"}, False),
        ({"stride": 2, "padding": 1}, False),
        ({"dilation": 2, "padding": 2}, False),
        ({"groups": 2, "padding": 1}, False),
        ({"padding": 1, "padding_mode": "reflect"}, False),
    ],
)
def test_what_it_suits(options, expected):
    assert MinimalConv2d.suits(nn.Conv2d(4, 6, 3, **options)) is expected
    assert not MinimalConv2d.suits(nn.Conv2d(4, 6, 1))


def test_evaluation_changes_no_bit():
    plain = nn.Conv2d(32, 48, 3, padding=1)
    twin, maps = as_minimal(plain), drawn(1, 32, 40, 40)
    assert list(twin.state_dict()) == list(plain.state_dict())
    assert torch.equal(twin.eval()(maps), plain.eval()(maps))
    torch.testing.assert_close(twin.train()(maps), plain(maps), rtol=0, atol=1e-5)


def test_few_channels_few_tiles_and_other_types_are_plain():
    for channels, side, dtype in ((4, 40, None), (32, 8, None), (32, 40, torch.float64)):
        plain = nn.Conv2d(channels, 32, 3, padding=1).to(dtype)
        maps = drawn(1, channels, side, side).to(dtype or torch.float32)
        assert torch.equal(as_minimal(plain)(maps), plain(maps))


def test_a_frozen_norm_is_folded_into_it():
    plain, norm = nn.Conv2d(32, 32, 3, padding=1, bias=False), FrozenBatchNorm2d(32)
    norm.weight.uniform_(0.5, 2)
    norm.bias.normal_()
    maps, twin = drawn(1, 32, 40, 40), as_minimal(plain)
    expected = conv_norm(plain, norm, maps)
    norm.may_fold = True
    torch.testing.assert_close(conv_norm(twin, norm, maps), expected, rtol=0, atol=1e-5)


def test_under_autocast_maps_have_its_type_and_weights_are_not_rounded():
    plain = nn.Conv2d(64, 64, 3, padding=1)
    twin, maps = as_minimal(plain), drawn(1, 64, 80, 80)
    with torch.autocast("cpu", torch.bfloat16):
        result = twin(maps)
    assert result.dtype == torch.bfloat16
    expected = plain(maps.bfloat16().float())
    torch.testing.assert_close(result.float(), expected, rtol=2**-8, atol=1e-5)
    result.float().sum().backward()
    expected.sum().backward()
    assert twin.weight.grad.dtype == torch.float32
    torch.testing.assert_close(twin.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)


def test_recomputed_activations_change_no_bit():
    layers = nn.Sequential(as_minimal(nn.Conv2d(32, 32, 3, padding=1)), nn.ReLU())
    gradients = []
    for recomputes in (False, True):
        maps = drawn(1, 32, 40, 40).requires_grad_()
        layers.zero_grad()
        result = checkpoint(layers, maps, use_reentrant=False) if recomputes else layers(maps)
        result.square().sum().backward()
        gradients.append([maps.grad, *(each.grad.clone() for each in layers.parameters())])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("name", ["input", "weight"])
def test_other_types_are_refused_before_anything_is_computed(name):
    tensors = {"input": torch.rand(1, 16, 9, 9), "weight": torch.rand(16, 16, 3, 3)}
    tensors[name] = tensors[name].double()
    with pytest.raises(ValueError, match=f"^{name}: expected float32"):
        conv3x3(**tensors, bias=None)


def test_a_layer_for_training_is_the_plain_one_elsewhere():
    layer = MinimalConv2d(16, 16, 3, padding=1)
    assert layer.to("meta")(torch.rand(1, 16, 40, 40, device="meta")).is_meta
    layer, maps = MinimalConv2d(16, 16, 3, padding=1).double(), torch.rand(1, 16, 48, 48).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(maps).dtype == torch.float64


def test_gradients_by_functions():
    layer, maps = MinimalConv2d(16, 16, 3, padding=1), torch.rand(1, 16, 48, 48)
    parameters = dict(layer.named_parameters())

    def loss(values):
        return torch.func.functional_call(layer, values, (maps,)).square().sum()

    found = torch.func.grad(loss)(parameters)
    expected = torch.autograd.grad(loss(parameters), list(parameters.values()))
    for gradient, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)
