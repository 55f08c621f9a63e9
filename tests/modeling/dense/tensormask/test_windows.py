"""Windows that are read alone are those of the dense operator."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import swap_align2nat
from maskrcnn_benchmark.modeling.dense.tensormask import windows as module
from maskrcnn_benchmark.modeling.dense.tensormask.head import TensorMaskOutputs
from maskrcnn_benchmark.modeling.dense.tensormask.places import Places
from maskrcnn_benchmark.modeling.dense.tensormask.windows import (
    FeatureMap,
    WindowReader,
    read_windows,
)

# Side, factor, and cells of the map, among them windows wider than it, and maps of one cell.
SHAPES = [
    (3, 1, (4, 5)),
    (2, 1, (4, 3)),
    (3, 2, (5, 6)),
    (2, 3, (4, 7)),
    (5, 4, (9, 6)),
    (3, 8, (17, 4)),
    (3, 2, (1, 1)),
]


def make(side, size_hw, num_images=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=dtype)
    return draw(num_images, 6, *size_hw), draw(side**2, 6), draw(side**2)


def dense(maps, filters, biases, factor):
    """(N, S, S, H', W') all windows."""
    stored = F.conv2d(maps, filters[:, :, None, None], biases)
    found = swap_align2nat(stored, factor)
    side = round(found.shape[1] ** 0.5)
    return found.unflatten(1, (side, side))


def read(maps, *args):
    return read_windows(FeatureMap(maps), *args)


def all_places(num_images, size_hw, factor):
    counts = (num_images, *(-(-length // factor) for length in size_hw))
    return torch.cartesian_prod(*(torch.arange(count) for count in counts)).T


@pytest.mark.parametrize(("side", "factor", "size_hw"), SHAPES)
def test_windows_are_those_of_the_operator(side, factor, size_hw):
    inputs = make(side, size_hw)
    places = all_places(2, size_hw, factor)
    found = read(*inputs, places, factor)
    n, y, x = places
    expected = dense(*inputs, factor)[n, :, :, y, x]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at_a_time", [1, 2**23])
@pytest.mark.parametrize(("side", "factor", "size_hw"), SHAPES)
def test_gradients_are_those_of_the_operator(monkeypatch, side, factor, size_hw, at_a_time):
    monkeypatch.setattr(module, "_MAX_GATHERED", at_a_time)
    inputs = [each.requires_grad_() for each in make(side, size_hw, dtype=torch.float64)]
    # One of them twice.
    places = all_places(2, size_hw, factor)[:, [0, -1, 0]]
    n, y, x = places
    noise = torch.randn(3, side * factor, side * factor, dtype=torch.float64)
    found = read(*inputs, places, factor)
    expected = dense(*inputs, factor)[n, :, :, y, x]
    mine, theirs = (
        torch.autograd.grad((values * noise).sum(), inputs) for values in (found, expected)
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradcheck():
    inputs = [each.requires_grad_() for each in make(3, (3, 4), 1, torch.float64)]
    places = torch.tensor([[0, 0], [0, 1], [1, 0]])
    assert torch.autograd.gradcheck(lambda *args: read(*args, places, 2), inputs)


def test_no_windows():
    inputs = [each.requires_grad_() for each in make(3, (3, 4))]
    found = read(*inputs, torch.zeros(3, 0, dtype=torch.int64), 2)
    assert found.shape == (0, 6, 6)
    gradients = torch.autograd.grad(found.sum(), inputs)
    assert all((each == 0).all() for each in gradients)


def places_of(rows, columns):
    same = torch.zeros(len(rows), dtype=torch.int64)
    return Places(same, torch.tensor(rows), torch.tensor(columns), same)


def test_a_reader_of_natural_masks_takes_the_cell_itself():
    maps, filters, biases = make(3, (4, 5))
    outputs = TensorMaskOutputs([], [], [maps], [filters], [biases])
    reader = WindowReader(factors=(1,), num_sizes=1, aligned=False)
    ((inds, found),) = reader.read(outputs, torch.tensor([1, 0]), places_of([2, 3], [4, 0]))
    assert inds.tolist() == [0, 1]
    stored = F.conv2d(maps, filters[:, :, None, None], biases)
    for mask, (n, y, x) in zip(found, [(1, 2, 4), (0, 3, 0)], strict=True):
        torch.testing.assert_close(mask.flatten(), stored[n, :, y, x])
