"""RoIAlign with a shift by half a pixel, as torchvision's aligned=True."""

import re

import pytest
import torch

from maskrcnn_benchmark.layers import ROIAlign, ops_status, roi_align
from tests.layers import op_cases, oracles
from tests.layers.inputs import implementations, random_rois
from tests.layers.op_cases.case import DTYPES
from tests.layers.twins import TWINS

OPS = torch.ops.centermask
NAN, INF = float("nan"), float("inf")
FORWARDS, BACKWARDS = implementations("roi_align"), implementations("roi_align_backward")
forwards = pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
backwards = pytest.mark.parametrize("backward", BACKWARDS.values(), ids=BACKWARDS)
# What torchvision makes of NaN is not defined, of adaptive grids on inverted sides an error or
# zeros; and it copies what lies far apart.
COMPARABLE = [
    case
    for case in op_cases.FAMILIES["roi_align"].CASES
    if not re.search("not-numbers|far-apart|infinite|inverted-adaptive", case.name)
]


def ramp(length=8):
    return torch.arange(float(length)).expand(1, 1, length, length)


def test_linear_ramp_is_sampled_half_a_cell_lower():
    pooled = roi_align(ramp(), torch.tensor([[0.0, 1, 2, 5, 6]]), 2, 1.0, 2, aligned=True)
    # Columns 1..5 in two bins: centres at 2 and 4 on an axis where cell k begins at k.
    assert pooled[0, 0].tolist() == [[1.5, 3.5], [1.5, 3.5]]


def test_sides_stay_short():
    point = torch.tensor([[0.0, 3, 3, 3, 3], [0, 3, 3, 3.5, 3.5]])
    pooled = roi_align(ramp(), point, (1, 2), 1.0, 1, aligned=True)
    assert pooled.flatten(1).tolist() == [[2.5, 2.5], [2.625, 2.875]]


@forwards
@backwards
def test_an_adaptive_grid_on_no_length_has_no_samples(forward, backward):
    rois = torch.tensor([[0.0, 3, 3, 3, 6], [0, 3, 3, 6, 3], [0, 5, 3, 2, 6], [0, 5, 5, 2, 2]])
    assert torch.equal(forward(ramp() + 1, rois, 1.0, 2, 2, 0, True), torch.zeros(4, 1, 2, 2))
    grad = backward(torch.ones(4, 1, 2, 2), rois, 1.0, 1, 1, 8, 8, 0, True)
    assert torch.equal(grad, torch.zeros(1, 1, 8, 8))


@forwards
@pytest.mark.parametrize("ratio", [1, 2, 9])
def test_inverted_rois_are_sampled_backwards(forward, ratio):
    features, rois = random_rois(dtype=torch.float64)
    inverted = rois[:, [0, 3, 4, 1, 2]]
    pooled, backwards_too = (
        forward(features, x, 0.25, 3, 4, ratio, True) for x in (rois, inverted)
    )
    torch.testing.assert_close(backwards_too, pooled.flip(2, 3))


@forwards
@pytest.mark.parametrize("ratio", [0, 2])
def test_mirrored_maps_pool_mirrored_features(forward, ratio):
    """Only a shift by exactly half a cell treats both borders of a map alike."""
    features, rois = random_rois()
    width_px, pooled_hw = features.shape[3] / 0.25, (3, 4)
    mirrored = rois[:, [0, 3, 2, 1, 4]] * torch.tensor([1.0, -1, 1, -1, 1])
    mirrored += torch.tensor([0.0, width_px, 0, width_px, 0])
    pooled = forward(features, rois, 0.25, *pooled_hw, ratio, True)
    other = forward(features.flip(3), mirrored, 0.25, *pooled_hw, ratio, True)
    torch.testing.assert_close(other, pooled.flip(3))


@forwards
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_agrees_with_naive_loop(forward, ratio):
    features, rois = random_rois(num_channels=2, num_rois=6)
    rois = torch.cat((rois, rois[:2, [0, 3, 2, 1, 4]], rois[:2, [0, 1, 2, 1, 4]]))
    expected = oracles.roi_align(features, rois, (3, 2), 0.25, ratio, aligned=True)
    pooled = forward(features, rois, 0.25, 3, 2, ratio, True)
    torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("case", COMPARABLE, ids=str)
def test_same_values_and_gradients_as_torchvision(case, dtype):
    theirs = pytest.importorskip("torchvision").ops.roi_align
    arguments = case.arguments(dtype)
    actual = getattr(OPS, case.operator)(*arguments)
    bound = case.tolerance * torch.finfo(dtype).eps
    tolerance = {"rtol": bound, "atol": bound}
    if case.operator == "roi_align":
        input, rois, scale, height, width, ratio, aligned = arguments
        expected = theirs(input, rois, (height, width), scale, ratio, aligned)
    else:
        grad, rois, scale, *shape, ratio = arguments[:8]
        leaf = grad.new_zeros(shape, requires_grad=True)
        theirs(leaf, rois, grad.shape[2:], scale, ratio, arguments[8:] == (True,)).backward(grad)
        expected = leaf.grad
    torch.testing.assert_close(actual, expected, **tolerance)


@pytest.mark.parametrize("num_channels", [7, 83])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("ratio", [0, 2])
def test_training_step_is_that_of_torchvision(num_channels, layout, ratio):
    theirs = pytest.importorskip("torchvision").ops.roi_align
    features, rois = random_rois(num_channels, 23, torch.float32, seed=num_channels)
    results = []
    for function in (roi_align, theirs):
        leaf = features.clone(memory_format=layout).requires_grad_()
        pooled = function(leaf, rois, (5, 4), 0.25, ratio, aligned=True)
        (pooled * torch.arange(pooled.numel()).cos().view_as(pooled)).sum().backward()
        results.append((pooled, leaf.grad))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", ["roi_align", "roi_align_backward"])
def test_not_aligned_unless_asked_for(operator):
    features, rois = random_rois()
    pooled = torch.ones(9, 5, 3, 2, dtype=torch.float64)
    calls = {
        "roi_align": (features, rois, 0.25, 3, 2, 0),
        "roi_align_backward": (pooled, rois, 0.25, *features.shape, 0),
    }
    for function in (getattr(OPS, operator), getattr(TWINS, operator)):
        results = [function(*calls[operator], *rest) for rest in ((), (False,), (True,))]
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])


def test_gradcheck():
    features, rois = random_rois(num_channels=2, num_rois=4)
    rois = torch.cat((rois, rois[:1, [0, 3, 4, 1, 2]], rois[:1, [0, 1, 2, 1, 2]]))
    features.requires_grad_()
    for ratio in (0, 2):

        def pool(x, ratio=ratio):
            return roi_align(x, rois, 2, 0.25, ratio, aligned=True)

        assert torch.autograd.gradcheck(pool, features)
        assert torch.autograd.gradgradcheck(pool, features)


@pytest.mark.parametrize("shape", [(2, 3, 9, 13), (0, 3, 9, 13), (1, 3, 1, 1)])
def test_no_rois(shape):
    features = torch.randn(shape, requires_grad=True)
    pooled = roi_align(features, torch.zeros(0, 5), 7, 0.25, 2, aligned=True)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert torch.equal(features.grad, torch.zeros(shape))


def test_map_of_one_cell():
    features = torch.full((1, 3, 1, 1), 2.0, requires_grad=True)
    pooled = roi_align(features, torch.tensor([[0.0, 0, 0, 1, 1]]), 2, 1.0, 2, aligned=True)
    assert torch.equal(pooled, torch.full((1, 3, 2, 2), 2.0))
    pooled.sum().backward()
    assert features.grad.flatten().tolist() == [4.0, 4.0, 4.0]


@forwards
@pytest.mark.parametrize("ratio", [0, 2])
def test_rois_that_are_no_numbers_pool_zeros(forward, ratio):
    features, _ = random_rois(num_channels=3, dtype=torch.float32)
    corners = [[NAN] * 4, [0, 0, INF, INF], [-INF, 0, INF, 9], [INF, 0, 0, 9], [9, INF, 0, -INF]]
    rois = torch.tensor([[1.0, *box] for box in corners])
    assert torch.equal(forward(features, rois, 0.25, 2, 2, ratio, True), torch.zeros(5, 3, 2, 2))


@pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
def test_fine_steps_backwards_take_no_more_memory_than_forwards():
    """A cell met again on the way down is the cell met before, however many samples there are."""
    features = torch.rand(1, 4, 64, 64)
    down = torch.tensor([[0.0, 60, 60, 4, 4]])
    pooled = OPS.roi_align(features, down, 1.0, 2, 2, 4096, True)
    up = OPS.roi_align(features, down[:, [0, 3, 4, 1, 2]], 1.0, 2, 2, 4096, True)
    torch.testing.assert_close(pooled, up.flip(2, 3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_compute_in_float32(dtype):
    features, rois = random_rois(dtype=torch.float32)
    rounded = features.to(dtype)
    expected = roi_align(rounded.float(), rois, 3, 0.25, 2, aligned=True)
    pooled = roi_align(rounded, rois, 3, 0.25, 2, aligned=True)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, expected.to(dtype))
    with torch.autocast("cpu", dtype):
        assert torch.equal(OPS.roi_align(rounded, rois, 0.25, 3, 3, 2, True), expected)


def test_module_is_the_function():
    features, rois = random_rois()
    module = ROIAlign((4, 3), 0.25, 2, aligned=True)
    expected = roi_align(features, rois, (4, 3), 0.25, 2, aligned=True)
    assert torch.equal(module(features, rois), expected)
    assert repr(module).endswith("aligned=True)")


def test_exported_program_keeps_the_shift():
    features, rois = random_rois()
    module = ROIAlign(3, 0.25, 0, aligned=True)
    dynamic = {"input": {}, "rois": {0: torch.export.Dim("rois", min=2)}}
    program = torch.export.export(module, (features, rois), dynamic_shapes=dynamic)
    for count in (9, 4):
        expected = module(features, rois[:count])
        assert torch.equal(program.module()(features, rois[:count]), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiles_without_graph_breaks():
    def loss(features, rois):
        return roi_align(features, rois, 3, 0.25, 2, aligned=True).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (5, 9):
        gradients = []
        for function in (loss, compiled):
            features, rois = random_rois(num_rois=count)
            function(features.requires_grad_(), rois).backward()
            gradients.append(features.grad)
        torch.testing.assert_close(*gradients)
