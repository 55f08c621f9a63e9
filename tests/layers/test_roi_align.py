import pytest
import torch

from maskrcnn_benchmark.layers import ROIAlign, roi_align
from tests.golden_data import golden_npz
from tests.layers import oracles
from tests.layers.inputs import implementations, random_rois

FORWARDS, BACKWARDS = implementations("roi_align"), implementations("roi_align_backward")


def test_linear_ramp_is_sampled_at_bin_centres():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    pooled = roi_align(ramp, torch.tensor([[0.0, 1, 2, 5, 6]]), 2, 1.0, 2)
    # Columns 1..5 in two bins of width 2: centres at 2 and 4; no shift by half a pixel.
    assert pooled[0, 0].tolist() == [[2.0, 4.0], [2.0, 4.0]]


def test_sides_are_at_least_one_cell():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    pooled = roi_align(ramp, torch.tensor([[0.0, 3, 3, 3, 3]]), (1, 2), 1.0, 1)
    assert pooled.flatten().tolist() == [3.25, 3.75]


def test_border_counts_for_one_cell_outside_and_nothing_farther():
    ones = torch.ones(1, 1, 4, 4)
    left_of_map = torch.tensor([[0.0, -2, 0, 0, 4]])
    # Samples at x = -1.75, -1.25 (outside) and -0.75, -0.25 (border).
    assert roi_align(ones, left_of_map, (1, 2), 1.0, 2).flatten().tolist() == [0.0, 1.0]


@pytest.mark.golden
@pytest.mark.parametrize(("side", "ratio"), [(7, 2), (14, 2), (7, 0)])
def test_same_features_and_gradients_as_the_original(side, ratio):
    golden = golden_npz("ops")
    features = torch.from_numpy(golden["roi_align_x"]).requires_grad_()
    pooled = roi_align(features, torch.from_numpy(golden["roi_align_rois"]), side, 1 / 8, ratio)
    (pooled * torch.arange(pooled.numel()).cos().view_as(pooled)).sum().backward()
    expected = torch.from_numpy(golden[f"roi_align_{side}_{ratio}"])
    torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-6)
    grad = torch.from_numpy(golden[f"roi_align_{side}_{ratio}_grad"])
    torch.testing.assert_close(features.grad, grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_agrees_with_naive_loop(ratio):
    features, rois = random_rois(num_channels=2, num_rois=6)
    expected = oracles.roi_align(features, rois, (3, 2), 0.25, ratio)
    for forward in FORWARDS.values():
        pooled = forward(features, rois, 0.25, 3, 2, ratio)
        torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-12)


# Channel counts around the blocks that the kernel works in (16 floats or 8 doubles, and 4 times).
@pytest.mark.parametrize("num_channels", [1, 7, 8, 16, 17, 64, 83])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ratio", [0, 2])
def test_kernel_agrees_with_reference(num_channels, dtype, ratio):
    features, rois = random_rois(num_channels, 23, dtype, seed=num_channels)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {}
    results = [f(features, rois, 0.25, 5, 4, ratio) for f in FORWARDS.values()]
    torch.testing.assert_close(results[0], results[1], **tolerance)
    grad = torch.randn(results[0].shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    shape = features.shape
    gradients = [f(grad, rois, 0.25, *shape, ratio) for f in BACKWARDS.values()]
    torch.testing.assert_close(gradients[0], gradients[1], **tolerance)


def test_backward_is_the_transpose_of_forward():
    features, rois = random_rois(num_channels=20)
    pooled = FORWARDS["dispatched"](features, rois, 0.25, 4, 4, 2)
    grad = torch.randn_like(pooled)
    grad_features = BACKWARDS["dispatched"](grad, rois, 0.25, *features.shape, 2)
    torch.testing.assert_close((pooled * grad).sum(), (features * grad_features).sum())


@pytest.mark.parametrize("num_channels", [5, 16])
@pytest.mark.parametrize(
    "rearranged",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.cat((x, x), dim=3)[..., : x.shape[3]],
        lambda x: x.flip(0).flip(0)[:, torch.arange(x.shape[1])],
    ],
    ids=["channels_last", "transposed", "slice", "gathered"],
)
def test_memory_layout_changes_nothing(num_channels, rearranged):
    features, rois = random_rois(num_channels, dtype=torch.float32)
    expected = roi_align(features, rois, 4, 0.25, 2)
    pooled = roi_align(rearranged(features), rois, 4, 0.25, 2)
    assert pooled.is_contiguous()
    assert torch.equal(pooled, expected)
    wide = torch.cat((rois, rois), dim=1)[:, :5]
    assert torch.equal(roi_align(features, wide, 4, 0.25, 2), expected)


def test_thread_count_changes_no_bit():
    features, rois = random_rois(num_channels=128, num_rois=40, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 7):
            torch.set_num_threads(count)
            leaf = features.clone().requires_grad_()
            pooled = roi_align(leaf, rois, 7, 0.25, 2)
            pooled.square().sum().backward()
            results.append((pooled.detach(), leaf.grad))
    finally:
        torch.set_num_threads(threads)
    for pooled, grad in results[1:]:
        assert torch.equal(pooled, results[0][0])
        assert torch.equal(grad, results[0][1])


def test_gradcheck():
    features, rois = random_rois(num_channels=2, num_rois=4)
    features.requires_grad_()
    for ratio in (0, 2):
        assert torch.autograd.gradcheck(lambda x, r=ratio: roi_align(x, rois, 3, 0.25, r), features)
    assert torch.autograd.gradgradcheck(lambda x: roi_align(x, rois, 2, 0.25, 2), features)


@pytest.mark.parametrize("shape", [(2, 3, 9, 13), (0, 3, 9, 13), (1, 3, 1, 1)])
def test_no_rois(shape):
    features = torch.randn(shape, requires_grad=True)
    pooled = roi_align(features, torch.zeros(0, 5), 7, 0.25, 2)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert torch.equal(features.grad, torch.zeros(shape))


def test_map_of_one_cell():
    features = torch.full((1, 3, 1, 1), 2.0, requires_grad=True)
    pooled = roi_align(features, torch.tensor([[0.0, 0, 0, 1, 1]]), 2, 1.0, 2)
    assert torch.equal(pooled, torch.full((1, 3, 2, 2), 2.0))
    pooled.sum().backward()
    assert features.grad.flatten().tolist() == [4.0, 4.0, 4.0]


@pytest.mark.parametrize("forward", FORWARDS.values(), ids=FORWARDS)
@pytest.mark.parametrize("ratio", [0, 2])
def test_rois_that_are_no_numbers_pool_zeros(forward, ratio):
    features, _ = random_rois(num_channels=3, dtype=torch.float32)
    nan, inf = float("nan"), float("inf")
    rois = torch.tensor([[0, nan, nan, nan, nan], [1, 0, 0, inf, inf], [1, -inf, 0, inf, 9]])
    assert torch.equal(forward(features, rois, 0.25, 2, 2, ratio), torch.zeros(3, 3, 2, 2))


def test_half_precision_returns_its_own_type():
    features, rois = random_rois(dtype=torch.float32)
    expected = roi_align(features.half().float(), rois, 3, 0.25, 2)
    pooled = roi_align(features.half(), rois, 3, 0.25, 2)
    assert pooled.dtype == torch.float16
    assert torch.equal(pooled, expected.half())


@pytest.mark.parametrize("num_channels", [5, 16, 80])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_computed_in_float32_and_rounded_once(num_channels, layout, autocast):
    features, rois = random_rois(num_channels, dtype=torch.float32)
    halves = features.bfloat16().contiguous(memory_format=layout)
    expected = roi_align(halves.float(), rois, 7, 0.25, 2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        pooled = roi_align(halves, rois, 7, 0.25, 2)
    assert pooled.dtype == torch.bfloat16
    assert torch.equal(pooled, expected)


def test_gradients_of_bfloat16():
    features, rois = random_rois(num_channels=16, dtype=torch.float32)
    gradients = []
    for leaf in (features.bfloat16(), features.bfloat16().float()):
        leaf.requires_grad_()
        roi_align(leaf, rois, 4, 0.25, 2).float().sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].dtype == torch.bfloat16
    assert torch.equal(gradients[0], gradients[1].bfloat16())


def test_module_is_the_function():
    features, rois = random_rois()
    module = ROIAlign((4, 3), 0.25, 2)
    assert torch.equal(module(features, rois), roi_align(features, rois, (4, 3), 0.25, 2))
    assert repr(module) == (
        "ROIAlign(output_size=(4, 3), spatial_scale=0.25, sampling_ratio=2, aligned=False)"
    )


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
        "sampling_ratio": 2,
    }
    with pytest.raises(ValueError, match=message):
        roi_align(**{**arguments, **changes})


@pytest.mark.parametrize("image", [-1.0, 2.0, float("nan")])
def test_image_index_out_of_range_is_refused(image):
    features, rois = random_rois()
    rois[1, 0] = image
    with pytest.raises((RuntimeError, ValueError), match=r"rois: .*\[0, 2\).*row 1"):
        roi_align(features, rois, 7, 0.25, 2)
