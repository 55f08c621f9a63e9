import numpy as np
import pytest
import torch

from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.loss import l2_loss, mask_iou
from tests.golden_data import golden_npz


def test_iou_of_a_whole_object_by_hand():
    probs, masks = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    probs[0, :2] = 0.9  # eight pixels predicted
    masks[0, 1:3] = 1  # eight true ones, four in common
    assert mask_iou(probs, masks, torch.ones(1)).tolist() == pytest.approx([4 / 12])


def test_area_outside_the_roi_counts():
    probs, masks = torch.ones(1, 4, 4), torch.ones(1, 4, 4)
    assert mask_iou(probs, masks, torch.tensor([0.25])).tolist() == pytest.approx([0.25])


def test_probability_of_one_half_is_background():
    probs, masks = torch.full((1, 2, 2), 0.5), torch.ones(1, 2, 2)
    assert mask_iou(probs, masks, torch.ones(1)).item() == 0


def test_empty_masks_have_no_overlap():
    assert mask_iou(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1)).item() == 0
    assert mask_iou(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2), torch.ones(0)).shape == (0,)


def test_only_positive_targets_count():
    # UPSTREAM(only-positive-targets): the second roi is left out.
    predicted = torch.tensor([0.5, 0.9, 1.0], requires_grad=True)
    loss = l2_loss(predicted, torch.tensor([0.7, 0.0, 0.8]))
    assert loss.item() == pytest.approx(0.5 * (0.2**2 + 0.2**2) / 2)
    loss.backward()
    np.testing.assert_allclose(predicted.grad, [-0.1, 0.0, 0.1], atol=1e-6)


@pytest.mark.parametrize("size", [0, 3])
def test_without_positive_targets_the_loss_is_zero_with_a_graph(size):
    predicted = torch.ones(size, requires_grad=True)
    loss = l2_loss(predicted, torch.zeros(size))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad.abs().sum() == 0


@pytest.mark.golden
def test_loss_equals_the_original_one():
    data = golden_npz("ops")
    predicted, target = (torch.from_numpy(data[f"sl1_{name}"]) for name in ("input", "target"))
    assert l2_loss(predicted, target).item() == pytest.approx(data["l2_loss"].item(), rel=1e-6)
