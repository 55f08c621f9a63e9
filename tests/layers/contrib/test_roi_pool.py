import pytest
import torch

from maskrcnn_benchmark.layers import ROIPool, roi_pool
from tests.layers.op_cases.roi_align import features, random_rois
from tests.layers.twins import TWINS

OPS = torch.ops.centermask


def test_largest_cells_of_a_grid():
    ramp = torch.arange(24.0).view(1, 1, 4, 6)
    # Columns 1..4 and rows 1..2 with both ends: bins of two columns and one row.
    pooled = roi_pool(ramp, torch.tensor([[0.0, 1, 1, 4, 2]]), 2, 1.0)
    assert pooled[0, 0].tolist() == [[8.0, 10.0], [14.0, 16.0]]


def test_bins_share_a_cell_where_sides_do_not_divide():
    ramp = torch.arange(3.0).expand(1, 1, 1, 3)
    pooled = roi_pool(-ramp, torch.tensor([[0.0, 0, 0, 2, 0]]), (1, 2), 1.0)
    # Three columns in two bins: 0..1 and 1..2.
    assert pooled.flatten().tolist() == [0.0, -1.0]


def test_halves_are_rounded_away_from_zero():
    ramp = torch.arange(8.0).expand(1, 1, 1, 8)
    # 2.5 rounds to 3, unlike torch.round; -0.5 rounds to -1, which lies outside.
    pooled = roi_pool(-ramp, torch.tensor([[0.0, 5, 0, 9, 0], [0, -1, 0, 1, 0]]), (1, 1), 0.5)
    assert pooled.flatten().tolist() == [-3.0, 0.0]


def test_bins_outside_the_map_are_zero_and_have_no_gradient():
    maps = torch.full((1, 1, 2, 2), -5.0, requires_grad=True)
    pooled = roi_pool(maps, torch.tensor([[0.0, 1, 0, 3, 0]]), (1, 3), 1.0)
    assert pooled.flatten().tolist() == [-5.0, 0.0, 0.0]
    pooled.sum().backward()
    assert maps.grad.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


def test_gradient_goes_to_the_first_of_equal_cells():
    maps = torch.ones(1, 20, 3, 3, requires_grad=True)
    roi_pool(maps, torch.tensor([[0.0, 1, 1, 2, 2]]), 1, 1.0).sum().backward()
    assert maps.grad.nonzero().tolist() == [[0, channel, 1, 1] for channel in range(20)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [3, 35])
def test_same_values_and_gradients_as_torchvision(dtype, channels):
    torchvision = pytest.importorskip("torchvision")
    rois = random_rois(25, dtype)
    results = []
    for function in (roi_pool, torchvision.ops.roi_pool):
        maps = features(dtype, channels).clamp(min=-0.5).requires_grad_()
        pooled = function(maps, rois, (3, 5), 0.25)
        slopes = torch.arange(pooled.numel(), dtype=dtype).cos().view_as(pooled)
        results.append((pooled.detach(), *torch.autograd.grad((pooled * slopes).sum(), maps)))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_agrees_with_naive_loop():
    maps, rois = features(torch.float64), random_rois(8, torch.float64)
    pooled = roi_pool(maps, rois, (2, 3), 0.25)
    for roi, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (int(c / 4 + 0.5) if c >= 0 else -int(-c / 4 + 0.5) for c in corners)
        wide, high = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        for p in range(2):
            for q in range(3):
                values = [
                    maps[int(image), :, y, x]
                    for y in range(y1 + p * high // 2, y1 - (-(p + 1) * high // 2))
                    for x in range(x1 + q * wide // 3, x1 - (-(q + 1) * wide // 3))
                    if 0 <= y < 9 and 0 <= x < 13
                ]
                expected = torch.stack(values).amax(dim=0) if values else torch.zeros(3).double()
                assert torch.equal(pooled[roi, :, p, q], expected)


def test_gradcheck():
    maps, rois = features(torch.float64, 2).requires_grad_(), random_rois(4, torch.float64)
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, rois, 2, 0.25), maps)
    assert torch.autograd.gradgradcheck(lambda x: roi_pool(x, rois, 2, 0.25).square(), maps)


@pytest.mark.parametrize("shape", [(2, 3, 9, 13), (0, 3, 9, 13), (1, 3, 1, 1)])
def test_no_rois(shape):
    maps = torch.randn(shape, requires_grad=True)
    pooled = roi_pool(maps, torch.zeros(0, 5), 7, 0.25)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert torch.equal(maps.grad, torch.zeros(shape))


def test_thread_count_changes_no_bit():
    maps, rois = features(torch.float32, 70), random_rois(40, torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            leaf = maps.clone().requires_grad_()
            roi_pool(leaf, rois, 7, 0.25).square().sum().backward()
            results.append(leaf.grad)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(grad, results[0]) for grad in results)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(dtype):
    maps, rois = features(torch.float32), random_rois(5, torch.float32)
    expected = roi_pool(maps.to(dtype).float(), rois, 3, 0.25)
    pooled = roi_pool(maps.to(dtype), rois, 3, 0.25)
    assert pooled.dtype == dtype
    assert torch.equal(pooled.float(), expected)
    with torch.autocast("cpu", dtype):
        pooled, _ = OPS.roi_pool(maps.to(dtype), rois, 0.25, 3, 3)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, expected)


def test_module_is_the_function():
    maps, rois = features(torch.float32), random_rois(5, torch.float32)
    module = ROIPool((4, 3), 0.25)
    assert torch.equal(module(maps, rois), roi_pool(maps, rois, (4, 3), 0.25))
    assert repr(module) == "ROIPool(output_size=(4, 3), spatial_scale=0.25)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": torch.zeros(3, 9, 13)}, r"input: .*\(N, C, H, W\), got \(3, 9, 13\)"),
        ({"rois": torch.zeros(2, 4)}, r"rois: .*\(R, 5\), got \(2, 4\)"),
        ({"output_size": 0}, r"output_size: .*got \(0, 0\)"),
        ({"spatial_scale": 0.0}, r"spatial_scale: .*got 0.0"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "input": torch.zeros(2, 3, 9, 13),
        "rois": torch.zeros(1, 5),
        "output_size": 7,
        "spatial_scale": 0.25,
    }
    with pytest.raises(ValueError, match=message):
        roi_pool(**{**arguments, **changes})


@pytest.mark.parametrize("image", [-1.0, 2.0, float("nan")])
def test_image_index_out_of_range_is_refused(image):
    maps, rois = features(torch.float32), random_rois(3, torch.float32)
    rois[1, 0] = image
    for function in (OPS.roi_pool, TWINS.roi_pool):
        with pytest.raises((RuntimeError, ValueError), match=r"rois: .*\[0, 2\).*row 1"):
            function(maps, rois, 0.25, 7, 7)


def test_cells_beyond_the_map_are_refused():
    argmax = torch.full((1, 1, 1, 1), 12)
    for spread in (OPS.roi_pool_backward, TWINS.roi_pool_backward):
        with pytest.raises((RuntimeError, ValueError), match=r"argmax: .*got 12"):
            spread(torch.ones(1, 1, 1, 1), torch.zeros(1, 5), argmax, 1, 3, 4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiles_and_exports():
    compiled = torch.compile(roi_pool, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (5, 9):
        rois, gradients = random_rois(count, torch.float32), []
        for function in (roi_pool, compiled):
            maps = features(torch.float32).requires_grad_()
            function(maps, rois, 3, 0.25).square().sum().backward()
            gradients.append(maps.grad)
        torch.testing.assert_close(*gradients)
    auto = torch.export.Dim.AUTO
    example = features(torch.float32), random_rois(5, torch.float32)
    program = torch.export.export(
        ROIPool(3, 0.25), example, dynamic_shapes=({2: auto, 3: auto}, {0: auto})
    )
    maps, rois = torch.randn(2, 3, 20, 21), random_rois(8, torch.float32)
    assert torch.equal(program.module()(maps, rois), roi_pool(maps, rois, 3, 0.25))
