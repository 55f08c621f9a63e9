import itertools
import math

import pytest
import torch

from maskrcnn_benchmark.layers import SwapAlign2Nat, swap_align2nat
from maskrcnn_benchmark.layers.swap_align2nat import window_weights
from tests.golden_data import golden_json, golden_npz

CASES = golden_json("tensormask/swap_align2nat")["cases"]


def read(stored, place, pad):
    """Linear interpolation of a four-dimensional array, cell by cell."""
    total = 0.0
    for ends in itertools.product((0, 1), repeat=4):
        cells = [math.floor(each) + end for each, end in zip(place, ends, strict=True)]
        weight = math.prod(1 - abs(each - cell) for each, cell in zip(place, cells, strict=True))
        inside = all(0 <= cell < size for cell, size in zip(cells, stored.shape, strict=True))
        total += weight * (float(stored[tuple(cells)]) if inside else pad)
    return total


def restated(x, factor, pad):
    num_images, channels, height, width = x.shape
    side = math.isqrt(channels)
    new_side, rows, columns = side * factor, math.ceil(height / factor), math.ceil(width / factor)
    result = x.new_zeros(num_images, new_side**2, rows, columns)
    for n, v, u, y, column in itertools.product(
        *map(range, (num_images, new_side, new_side, rows, columns))
    ):
        place = (
            (v + 0.5) / factor - 0.5,
            (u + 0.5) / factor - 0.5,
            factor * y + v + 0.5 - new_side / 2,
            factor * column + u + 0.5 - new_side / 2,
        )
        stored = x[n].view(side, side, height, width)
        result[n, v * new_side + u, y, column] = read(stored, place, pad)
    return result


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_originals(name):
    case, arrays = CASES[name], golden_npz("tensormask/swap_align2nat")
    x, y, gy, gx = (torch.tensor(arrays[f"{name}_{part}"]) for part in ("x", "y", "gy", "gx"))
    x.requires_grad_()
    found = swap_align2nat(x, case["lambda_"], case["pad"])
    torch.testing.assert_close(found, y, rtol=1e-5, atol=1e-5)
    found.backward(gy)
    torch.testing.assert_close(x.grad, gx, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("side", "factor", "size_hw"), [(3, 1, (2, 3)), (2, 3, (4, 5))])
def test_windows_are_read_in_four_axes(side, factor, size_hw):
    x = torch.randn(2, side**2, *size_hw, generator=torch.Generator().manual_seed(0))
    found = SwapAlign2Nat(factor, pad_val=0.5)(x.double())
    # Weights are of 32 bits.
    torch.testing.assert_close(found, restated(x.double(), factor, 0.5), rtol=1e-5, atol=1e-6)


def test_what_a_pixel_says_of_a_window_is_found_at_its_centre():
    x = torch.zeros(1, 9, 5, 5)
    x[0, 2, 1, 3] = 1.0  # cell (0, 2) of the window whose centre is one down and one to the left
    assert swap_align2nat(x, 1, 0.0).nonzero().tolist() == [[0, 2, 2, 2]]


@pytest.mark.parametrize(("side", "factor"), [(2, 1), (3, 2), (1, 3)])
def test_gradients(side, factor):
    x = torch.randn(1, side**2, 3, 4, dtype=torch.float64, generator=torch.Generator())
    assert torch.autograd.gradcheck(lambda x: swap_align2nat(x, factor), x.requires_grad_())


def test_any_memory_layout():
    x = torch.randn(2, 9, 4, 6, generator=torch.Generator().manual_seed(1))
    other = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(swap_align2nat(other, 2), swap_align2nat(x, 2), rtol=0, atol=0)


def test_window_weights_fade_out_at_the_ends():
    expected = torch.tensor([[0.75, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 0.75]])
    torch.testing.assert_close(window_weights(2, 2), expected)


def test_half_precision_is_for_autocast_alone():
    x = torch.randn(1, 9, 4, 4, generator=torch.Generator().manual_seed(2)).bfloat16()
    with pytest.raises(ValueError, match=r"x.*float32.*bfloat16"):
        swap_align2nat(x, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = swap_align2nat(x, 2)
    assert torch.equal(found, swap_align2nat(x.float(), 2))


@pytest.mark.parametrize(
    ("shape", "factor", "names"),
    [((1, 8, 4, 4), 2, "x.*8"), ((9, 4, 4), 2, "x.*9, 4, 4"), ((1, 9, 4, 4), 1.5, "lambda_val")],
)
def test_other_arguments_are_refused(shape, factor, names):
    with pytest.raises(ValueError, match=names):
        swap_align2nat(torch.zeros(shape), factor)
