import importlib
import math

import pytest
import torch

from maskrcnn_benchmark.layers import ops_status, scores_above
from tests.layers.inputs import implementations
from tests.layers.op_cases.scores_above import LAYOUTS

# The function hides it in the package.
module = importlib.import_module("maskrcnn_benchmark.layers.scores_above")

KERNELS = implementations("scores_above")
implementation = pytest.mark.parametrize("compute", KERNELS.values(), ids=KERNELS)
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@layouts
@implementation
def test_rows_then_columns_then_predictions_of_a_cell(compute, layout):
    # Two images, two predictions of a cell, three classes, 2 x 2 cells.
    logits = torch.full((2, 6, 2, 2), -9.0)
    logits[0, 4, 0, 1] = 1.0  # second prediction, second class
    logits[0, 2, 0, 1] = 2.0  # first prediction, third class
    logits[0, 0, 1, 0] = 3.0
    logits[1, 5, 1, 1] = 4.0
    places, scores = compute(logits.contiguous(memory_format=layout), 3, 0.5)
    assert places.tolist() == [[0, 0, 0, 1], [2, 3, 4, 7], [2, 1, 0, 2]]
    expected = [1 / (1 + math.exp(-x)) for x in (2.0, 1.0, 3.0, 4.0)]
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
@layouts
@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("shape", [(2, 9, 40, 57), (1, 3, 50, 83)])
def test_scores_are_those_of_the_whole_map(layout, threads, shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 4
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = scores_above(logits.contiguous(memory_format=layout), 3, 0.3)
    finally:
        torch.set_num_threads(before)
    rows = logits.permute(0, 2, 3, 1).reshape(shape[0], -1, 3)
    # As one thread computes them by vectors alone.
    padded = torch.nn.functional.pad(rows.flatten(), (0, -rows.numel() % 64))
    parts = [part.sigmoid() for part in padded.split(16384)]
    whole = torch.cat(parts)[: rows.numel()].view_as(rows)
    places = torch.nonzero(whole > 0.3, as_tuple=True)
    for actual, expected in zip(found[:3], places, strict=True):
        assert torch.equal(actual, expected)
    assert torch.equal(found.scores, whole[places])


# Where float32 rounds: no score lies between a threshold and the number next to it.
@implementation
@pytest.mark.parametrize("threshold", [1e-6, 0.05, 0.5, 0.9, 0.999999, 0.99999997])
def test_the_score_is_compared_not_the_logit(compute, threshold):
    middle = math.log(threshold / (1 - threshold))
    logits = torch.linspace(middle - 1, middle + 1, 4096).view(1, 1, 64, 64)
    # Some of them right at the threshold.
    _, scores = compute(logits, 1, threshold)
    expected = logits.flatten().sigmoid()
    assert torch.equal(scores, expected[expected > threshold])
    at = float(expected[2048])
    _, scores = compute(logits, 1, at)
    assert torch.equal(scores, expected[expected > at])


@pytest.mark.parametrize(
    ("dtype", "precise"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_types(dtype, precise):
    logits = (torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    found, expected = (scores_above(x, 3, 0.4) for x in (logits, logits.to(precise)))
    assert found.scores.dtype == precise
    for actual, wanted in zip(found, expected, strict=True):
        assert torch.equal(actual, wanted)


def test_gradients_are_not_asked_for():
    logits = torch.zeros(1, 2, 3, 3, requires_grad=True)
    assert not scores_above(logits, 2, 0.1).scores.requires_grad


def pyramid(num_images, sizes=((5, 7), (3, 4), (1, 1)), dtype=torch.float32):
    """Logits of two predictions of a cell and three classes."""
    generator = torch.Generator().manual_seed(num_images)
    return [torch.randn(num_images, 6, *hw, generator=generator).to(dtype) * 4 for hw in sizes]


@pytest.mark.parametrize("find", ["_find_by_level", "_find_at_once"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_each_image_of_each_level_has_its_own(find, num_images, dtype):
    logits = pyramid(num_images, dtype=dtype)
    found = getattr(module, find)(logits, 3, 0.4)
    assert [len(of_level) for of_level in found] == [num_images] * len(logits)
    for of_level, level in zip(found, logits, strict=True):
        for image, each in enumerate(of_level):
            alone = scores_above(level[image : image + 1], 3, 0.4)
            assert torch.equal(each.images, torch.full_like(alone.images, image))
            assert torch.equal(each.locations, alone.locations)
            assert torch.equal(each.classes, alone.classes)
            torch.testing.assert_close(each.scores, alone.scores, rtol=1e-6, atol=0)


def test_logits_stay_as_they_are():
    (logits,) = pyramid(1, ((3, 4),))
    before = logits.clone()
    found = module._find_at_once([logits.contiguous(memory_format=torch.channels_last)], 3, 0.5)
    assert torch.equal(logits, before)
    assert len(found[0][0].scores) > 0
    module._find_at_once([logits], 1, 0.5)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("find", ["_find_by_level", "_find_at_once"])
def test_levels_and_images_may_have_none(find):
    logits = pyramid(2, ((2, 3), (0, 4), (1, 2)))
    logits[0].fill_(-9)
    logits[2][0].fill_(math.nan)
    logits[2][1].fill_(9)
    found = getattr(module, find)(logits, 3, 0.5)
    assert [[len(each.scores) for each in level] for level in found] == [[0, 0], [0, 0], [0, 12]]
    assert found[2][1].locations.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_levels_of_other_images_are_refused():
    with pytest.raises(ValueError, match="logits"):
        module.scores_of_images([pyramid(2)[0], pyramid(3)[1]], 3, 0.5)
    with pytest.raises(ValueError, match="logits"):
        module.scores_of_images([], 3, 0.5)
    with pytest.raises(ValueError, match="logits"):
        module.scores_of_images([pyramid(2)[0], pyramid(2)[1].double()], 3, 0.5)
    with pytest.raises(ValueError, match="num_classes"):
        module.scores_of_images(pyramid(2), 4, 0.5)
