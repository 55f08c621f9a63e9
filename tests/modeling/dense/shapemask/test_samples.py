import pytest
import torch

from maskrcnn_benchmark.modeling.dense.shapemask.branch import MaskOutputs
from maskrcnn_benchmark.modeling.dense.shapemask.samples import (
    MaskSampler,
    MaskSamples,
    join_samples,
    mask_losses,
)
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import rectangle

CANVAS = (128, 128)


def make_target(boxes):
    target = BoxList(torch.tensor(boxes).view(-1, 4), (128, 96), pixel_offset=0)
    target.add_field("labels", torch.arange(1, len(target) + 1))
    if boxes:
        polygons = [[rectangle(*box)] for box in boxes]
        target.add_field("masks", SegmentationMask(polygons, target.size))
    return target


def test_fewer_objects_are_filled_up_with_nothing():
    """upstream: empty-samples"""
    sampler = MaskSampler(settings=ShapeMaskSettings(num_sampled=4, jitter=0.0))
    found = sampler(make_target([[10.0, 10, 50, 50]]), CANVAS)
    assert found.labels.tolist() == [1, 0, 0, 0]
    assert found.weights.tolist() == [1, 1, 1, 1]
    assert found.boxes[1:].eq(0).all()
    assert found.outer.tolist()[0] == [5, 5, 55, 55]
    assert found.coarse.shape == (4, 32, 32)
    assert found.fine.shape == (4, 128, 128)
    # 40 of 50 px.
    assert found.fine[0].mean() == pytest.approx(0.8**2, abs=0.02)
    assert not found.fine[1:].any()


def test_photos_without_objects_count_nothing():
    sampler = MaskSampler(settings=ShapeMaskSettings(num_sampled=3))
    found = sampler(make_target([]), CANVAS)
    assert not any(part.any() for part in found)
    device = torch.device("cpu")
    joined = join_samples([found, sampler(make_target([[1.0, 1, 9, 9]]), CANVAS)], device)
    assert joined.weights.tolist() == [0, 0, 0, 1, 1, 1]
    none = join_samples([], device)
    assert [len(part) for part in none] == [0] * len(found)


def test_more_objects_are_drawn_and_their_boxes_jitter():
    boxes = [[float(x), 10, x + 40, 50] for x in range(0, 80, 10)]
    sampler = MaskSampler(settings=ShapeMaskSettings(num_sampled=3, jitter=0.1))
    torch.manual_seed(0)
    found = [sampler(make_target(boxes), CANVAS) for _ in range(8)]
    assert len({tuple(each.labels.tolist()) for each in found}) > 4
    shifts = torch.cat([each.boxes - torch.tensor(boxes)[each.labels - 1] for each in found])
    assert 1 < shifts.std() < 8
    assert torch.cat([each.boxes for each in found]).min() >= 0


def test_masks_of_some_classes_alone():
    settings = ShapeMaskSettings(num_sampled=3, jitter=0.0)
    sampler = MaskSampler(
        settings=settings, trained_labels=frozenset({2}), order=lambda n: torch.arange(n)
    )
    found = sampler(make_target([[1.0, 1, 9, 9], [2, 2, 20, 20]]), CANVAS)
    assert found.weights.tolist() == [0, 1, 0]


def test_losses_are_divided_by_the_pixels_of_all_objects():
    """upstream: foreground-count"""
    coarse, fine = torch.zeros(2, 32, 32), torch.zeros(2, 128, 128)
    coarse[:, :2, :4] = 1
    fine[0, :2, :8] = 1
    zeros = torch.zeros(2)
    samples = MaskSamples(zeros, zeros, zeros, torch.tensor([1.0, 0.0]), coarse, fine)
    logits = [torch.zeros(2, side, side, requires_grad=True) for side in (32, 32, 128)]
    settings = ShapeMaskSettings(prior_weight=3.0)
    losses = mask_losses(MaskOutputs(*logits), samples, settings)
    entropy = torch.tensor(2.0).log().item()
    assert losses["loss_prior"].item() == pytest.approx(3 * 0.5 * 8 / 16)
    assert losses["loss_coarse"].item() == pytest.approx(1024 * entropy / 16)
    assert losses["loss_fine"].item() == pytest.approx(128**2 * entropy / 16)
    sum(losses.values()).backward()
    assert not logits[2].grad[1].any()


def test_nothing_to_learn_is_a_finite_loss():
    settings = ShapeMaskSettings()
    sampler = MaskSampler(settings=settings)
    samples = sampler(make_target([]), CANVAS)
    logits = [torch.randn(8, side, side, requires_grad=True) for side in (32, 32, 128)]
    losses = mask_losses(MaskOutputs(*logits), samples, settings)
    assert sum(losses.values()) == 0
    sum(losses.values()).backward()
    assert not any(each.grad.any() for each in logits)
