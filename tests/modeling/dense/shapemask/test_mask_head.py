import pytest
import torch

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.data_fit import MadeOfOutlines
from maskrcnn_benchmark.modeling.dense.shapemask.branch import CoarseMask, FineMask
from maskrcnn_benchmark.modeling.dense.shapemask.mask_head import (
    ShapeMaskROIHead,
    trained_labels,
)
from maskrcnn_benchmark.modeling.dense.shapemask.samples import MaskSampler
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.modeling.roi_heads.head import RoiInputs
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.tight_outlines import Outline

STRIDES = (8, 16, 32, 64, 128)


def make_head(num_classes=4, **settings):
    settings = ShapeMaskSettings(num_priors=2, mask_channels=8, num_sampled=2, **settings)
    torch.manual_seed(0)
    return ShapeMaskROIHead(
        in_channels=6,
        strides=STRIDES,
        priors=torch.rand(num_classes, 2, 32, 32),
        settings=settings,
        norm=torch.nn.BatchNorm2d,
        sampler=MaskSampler(settings=settings),
    )


def make_inputs(*counts, side=128):
    generator = torch.Generator().manual_seed(1)
    maps = [
        torch.randn(len(counts), 6, side // stride, side // stride, generator=generator)
        for stride in STRIDES
    ]
    boxes = []
    for count in counts:
        corners = 60 * torch.rand(count, 4, generator=generator)
        corners[:, 2:] += corners[:, :2]
        one = BoxList(corners, (128, 100), pixel_offset=0)
        one.add_field("labels", torch.arange(count) % 3 + 1)
        boxes.append(one)
    return RoiInputs(maps, boxes)


@pytest.mark.parametrize("class_agnostic", [False, True])
@torch.no_grad()
def test_masks_lie_in_larger_boxes_and_photos_do_not_matter_to_one_another(class_agnostic):
    head, inputs = make_head(class_agnostic=class_agnostic).eval(), make_inputs(3, 0, 2)
    found = head(inputs).boxes
    for n, (boxes, given) in enumerate(zip(found, inputs.boxes, strict=True)):
        masks = boxes.predicted_masks
        assert masks.masks.shape == (len(given), 1, 128, 128)
        assert (masks.boxes[:, :2] <= boxes.bbox[:, :2]).all()
        assert (masks.boxes[:, 2:] >= boxes.bbox[:, 2:]).all()
        alone = head(RoiInputs([m[n : n + 1] for m in inputs.features], [given])).boxes[0]
        torch.testing.assert_close(alone.predicted_masks.masks, masks.masks, rtol=0, atol=1e-5)
    assert not found[1].predicted_masks.encode()
    assert "mask" not in inputs.boxes[0].fields()


@torch.no_grad()
def test_without_any_box():
    found = make_head().eval()(make_inputs(0, 0)).boxes
    assert [len(each.predicted_masks) for each in found] == [0, 0]


def test_photos_without_objects_train():
    head, inputs = make_head(), make_inputs(0, 0)
    maps = [each.requires_grad_(True) for each in inputs.features]
    losses = head(RoiInputs(maps, [], inputs.boxes)).losses
    assert set(losses) == {"loss_prior", "loss_coarse", "loss_fine"}
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("part", [CoarseMask, FineMask])
@pytest.mark.parametrize("num_boxes", [3, 0])
@torch.no_grad()
def test_folded_parts_compute_the_same(part, num_boxes):
    torch.manual_seed(0)
    whole = part(channels=8, num_outputs=5, norm=torch.nn.BatchNorm2d).eval()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features, masks = torch.randn(num_boxes, 8, 32, 32), torch.randn(num_boxes, 32, 32)
    outputs = torch.arange(num_boxes) + 1
    expected = whole(features, masks, outputs)
    found = whole.folded()(features, masks, outputs)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def square(label, side=8):
    return Outline(label, torch.ones(side, side, dtype=torch.bool))


def test_empty_priors_are_made_of_outlines():
    head = make_head(num_classes=4)
    assert isinstance(head, MadeOfOutlines)
    assert head.unmade_labels == ()
    kept = head.shape_priors[2].clone()
    head.shape_priors[[1, 3]] = 0
    assert head.unmade_labels == (1, 3)
    corner = torch.zeros(8, 8, dtype=torch.bool)
    corner[0] = corner[:, 0] = True
    head.make_from([square(1), Outline(2, corner)], seed=0)
    assert head.unmade_labels == ()
    assert head.shape_priors[1].eq(1).all()
    assert torch.equal(head.shape_priors[2], kept)
    # Of class 3 there is nothing: it has those of all.
    assert 0 < head.shape_priors[3].mean() < 1


def test_agnostic_priors_are_the_same_for_all_classes():
    head = make_head(num_classes=3, class_agnostic=True)
    head.shape_priors.zero_()
    head.make_from([square(1)], seed=0)
    assert head.shape_priors.eq(1).all()


def test_classes_of_voc_are_ids_or_labels_of_coco():
    """upstream: ids-as-labels"""
    assert trained_labels("all", 7) is None
    ids, labels = trained_labels("voc", 91), trained_labels("voc", 81)
    assert len(ids) == len(labels) == 20
    assert 72 in ids  # tv
    assert 63 in labels
    assert len(trained_labels("nonvoc", 81)) == 60
    assert not trained_labels("nonvoc", 91) & ids
    with pytest.raises(ConfigError, match="NUM_CLASSES"):
        trained_labels("voc", 5)
