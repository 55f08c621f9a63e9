import pytest
import torch

from maskrcnn_benchmark.layers import batched_nms, ml_nms, nms, nms_mask
from tests.golden_data import golden_npz
from tests.layers import oracles
from tests.layers.inputs import implementations, random_boxes

KERNELS = implementations("nms_keep")


def test_box_suppresses_overlapping_box_of_lower_score():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.8).tolist() == [1, 2]


def test_iou_counts_inclusive_pixels():
    # 10 x 10 and 10 x 5 pixels share 10 x 5: IoU is exactly 1/2 only when corners are inclusive.
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.499).tolist() == [0]


@pytest.mark.golden
def test_iou_equal_to_threshold_stays():
    """upstream: nms-strictly-above"""
    golden = golden_npz("ops")
    boxes, scores = (torch.from_numpy(golden[f"nms_tie_{key}"]) for key in ("boxes", "scores"))
    assert nms(boxes, scores, 0.5).tolist() == golden["nms_tie_keep_gt"].tolist()
    assert nms(boxes, scores, 0.5).tolist() != golden["nms_tie_keep_ge"].tolist()


@pytest.mark.golden
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7])
def test_same_indices_as_the_original(threshold):
    golden = golden_npz("ops")
    boxes, scores, labels = (
        torch.from_numpy(golden[f"nms_{key}"]) for key in ("boxes", "scores", "labels")
    )
    assert nms(boxes, scores, threshold).tolist() == golden[f"nms_keep_{threshold}"].tolist()
    kept = ml_nms(boxes, scores, labels, threshold)
    assert kept.tolist() == golden[f"ml_nms_keep_{threshold}"].tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("with_labels", [False, True])
def test_agrees_with_naive_loop(count, with_labels):
    boxes, scores, labels = random_boxes(count, seed=count)
    boxes = boxes.double()
    expected = oracles.nms(boxes, scores, labels if with_labels else None, 0.4)
    kept = ml_nms(boxes, scores, labels, 0.4) if with_labels else nms(boxes, scores, 0.4)
    assert kept.dtype == torch.int64
    assert kept.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_labels", [False, True])
def test_kernel_agrees_with_reference(dtype, with_labels):
    for seed in range(5):
        boxes, _, labels = random_boxes(1500, seed, spread=400.0)
        labels = labels if with_labels else None
        keeps = [kernel(boxes.to(dtype), labels, 0.5) for kernel in KERNELS.values()]
        assert keeps[0].dtype == torch.bool
        assert torch.equal(keeps[0], keeps[1])


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_chain_needs_as_many_rounds_as_boxes(kernel):
    # Each box overlaps the next only: survivors alternate, decided one after the other.
    starts = torch.arange(50.0) * 4
    boxes = torch.stack((starts, torch.zeros(50), starts + 9, torch.full((50,), 9.0)), dim=1)
    assert kernel(boxes, None, 0.4).tolist() == [i % 2 == 0 for i in range(50)]


def test_equal_scores_rank_by_index():
    boxes = torch.tensor([[0.0, 0, 9, 9]]).expand(4, 4)
    assert nms(boxes, torch.full((4,), 0.5), 0.5).tolist() == [0]


def test_permuting_boxes_permutes_the_result():
    boxes, scores, labels = random_boxes(120)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    kept = ml_nms(boxes, scores, labels, 0.3)
    kept_permuted = ml_nms(boxes[order], scores[order], labels[order], 0.3)
    assert sorted(order[kept_permuted].tolist()) == kept.tolist()


def test_class_wise_is_suppression_of_each_class_alone():
    boxes, scores, labels = random_boxes(150)
    kept = ml_nms(boxes, scores, labels, 0.3)
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1)
        alone = members[nms(boxes[members], scores[members], 0.3)]
        assert kept[labels[kept] == label].tolist() == alone.tolist()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_degenerate_and_non_finite_boxes_do_no_harm(kernel):
    nan, inf = float("nan"), float("inf")
    boxes = torch.tensor(
        [[0.0, 0, 9, 9], [nan, 0, 9, 9], [0, 0, inf, inf], [5, 5, 4, 4], [0, 0, 9, 9]]
    )
    assert kernel(boxes, None, 0.5).tolist() == [True, True, True, True, False]


def test_non_contiguous_and_half_precision_inputs():
    boxes, scores, labels = random_boxes(60, spread=20.0)
    wide = torch.cat((boxes, boxes), dim=1)[:, :4]
    assert not wide.is_contiguous()
    expected = ml_nms(boxes, scores, labels, 0.3).tolist()
    assert ml_nms(wide, scores, labels.int(), 0.3).tolist() == expected
    rounded = boxes.half()
    expected = nms(rounded.float(), scores, 0.3).tolist()
    assert nms(rounded, scores, 0.3).tolist() == expected


def test_gradients_stop_here():
    boxes, scores, _ = random_boxes(5)
    assert not nms(boxes.requires_grad_(), scores.requires_grad_(), 0.5).requires_grad


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "message"),
    [
        (torch.zeros(3, 5), torch.zeros(3), torch.zeros(3), r"boxes: .*\(K, 4\), got \(3, 5\)"),
        (torch.zeros(3, 4), torch.zeros(2), torch.zeros(3), r"scores: .*\(3,\).*got \(2,\)"),
        (torch.zeros(3, 4), torch.zeros(3), torch.zeros(3, 1), r"labels: .*got \(3, 1\)"),
    ],
)
def test_wrong_shapes_are_named(boxes, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        ml_nms(boxes, scores, labels, 0.5)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_batched_nms_is_that_of_torchvision(threshold):
    torchvision = pytest.importorskip("torchvision")
    boxes, scores, labels = random_boxes(60, spread=20.0)
    # Whole corners, so that no rounding decides.
    boxes = boxes.round()
    theirs = torchvision.ops.batched_nms(boxes, scores, labels, threshold)
    ours = batched_nms(boxes, scores, labels, threshold)
    assert torch.equal(ours, theirs)
    assert 0 < len(ours) < 60
    assert batched_nms(boxes[:0], scores[:0], labels[:0], threshold).shape == (0,)


def test_batched_nms_counts_edges_not_pixels():
    # 2 x 4 of 4 x 4: half as edges, 3 x 5 of 5 x 5 as pixels.
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 4]])
    scores = torch.tensor([0.2, 0.9])
    assert batched_nms(boxes, scores, torch.zeros(2), 0.55).tolist() == [1, 0]
    assert nms(boxes, scores, 0.55).tolist() == [1]


@pytest.mark.parametrize("pixel_offset", [0, 1])
def test_masks_are_of_the_boxes_whose_indices_come_otherwise(pixel_offset):
    boxes, scores, labels = random_boxes(50)
    alone = nms_mask(boxes, scores, None, 0.4, pixel_offset)
    assert alone.nonzero().squeeze(1).tolist() == nms(boxes, scores, 0.4, pixel_offset).tolist()
    by_class = nms_mask(boxes, scores, labels, 0.4, pixel_offset)
    expected = ml_nms(boxes, scores, labels, 0.4, pixel_offset)
    assert by_class.nonzero().squeeze(1).tolist() == expected.tolist()
    with pytest.raises(ValueError, match="labels"):
        nms_mask(boxes, scores, labels[:3], 0.4)
