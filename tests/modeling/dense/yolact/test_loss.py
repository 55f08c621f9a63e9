import math

import pytest
import torch

from maskrcnn_benchmark.modeling.dense.yolact.head import MaskIoUNet, YolactOutputs
from maskrcnn_benchmark.modeling.dense.yolact.loss import YolactLoss, YolactTarget, select_hard
from maskrcnn_benchmark.modeling.dense.yolact.matching import NEUTRAL, YolactMatcher
from maskrcnn_benchmark.modeling.dense.yolact.settings import YolactSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from tests.factories import rectangle

NUM_FOREGROUND, NUM_PROTOTYPES = 3, 2
# One cell with an anchor over the left half of the image, and one over the right half.
ANCHORS = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]])


def make_loss(maskiou_net=None, semantic=None, **options):
    settings = YolactSettings(num_prototypes=NUM_PROTOTYPES, **options)
    matcher = YolactMatcher(positive_iou=0.5, negative_iou=0.4, crowd_share=0.7)
    semantic = semantic or (lambda finest: finest[:, :1].expand(-1, NUM_FOREGROUND, -1, -1))
    return YolactLoss(
        settings=settings, matcher=matcher, semantic=semantic, maskiou_net=maskiou_net
    )


def make_outputs(num_images=1, grid=8):
    """All zeros: every class as probable, boxes the anchors, masks of 1/2 everywhere."""
    outputs = YolactOutputs(
        codes=[torch.zeros(num_images, 4, 1, 2)],
        logits=[torch.zeros(num_images, NUM_FOREGROUND + 1, 1, 2)],
        coefficients=[torch.zeros(num_images, NUM_PROTOTYPES, 1, 2)],
        prototypes=torch.zeros(num_images, NUM_PROTOTYPES, grid, grid),
        finest=torch.zeros(num_images, 1, 4, 4),
    )
    for field in (outputs.codes[0], outputs.logits[0], outputs.coefficients[0], *outputs[3:]):
        field.requires_grad_()
    return outputs


def make_target(boxes, labels, size=(16, 16)):
    """Boxes by their edges, filled by their objects."""
    edges = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    target = BoxList(edges - torch.tensor([0, 0, 1, 1]), size)
    target.add_field("labels", torch.tensor(labels, dtype=torch.int64))
    polygons = [[rectangle(*box)] for box in edges.tolist()]
    target.add_field("masks", SegmentationMask(polygons, size, mode="poly"))
    return target


LEFT = [0, 0, 8, 16]


def test_all_losses_by_hand():
    losses = make_loss()(make_outputs(), [ANCHORS], [make_target([LEFT], [2])])
    # The positive and, of three allowed, the one negative: each log 4.
    assert losses["loss_cls"].item() == pytest.approx(2 * math.log(4), rel=1e-6)
    assert losses["loss_box"].item() == 0
    # 8 x 4 cells of the object at 1/2, and the column beside it, which the crop leaves in.
    entropy = (4 + 1) * 8 * math.log(2)
    assert losses["loss_mask"].item() == pytest.approx(6.125 * entropy / (4 * 8), rel=1e-6)
    # Three maps of 4 x 4 cells of logit 0.
    assert losses["loss_segm"].item() == pytest.approx(3 * math.log(2), rel=1e-6)


def test_box_loss_is_smooth_l1_over_positives():
    outputs = make_outputs()
    with torch.no_grad():
        # 0.5 * 0.4 ** 2 and 2 - 0.5; the other anchor does not count.
        outputs.codes[0][0, :, 0, 0] = torch.tensor([0.4, 2.0, 0, 0])
        outputs.codes[0][0, :, 0, 1] = 9
    losses = make_loss()(outputs, [ANCHORS], [make_target([LEFT], [1])])
    assert losses["loss_box"].item() == pytest.approx(1.5 * (0.08 + 1.5), rel=1e-6)


def test_an_object_outside_of_its_box_costs_a_hundred_a_cell():
    """upstream: uncropped-truth"""
    target = make_target([LEFT], [1])
    whole = SegmentationMask([[rectangle(0, 0, 16, 16)]], target.size)
    target.add_field("masks", whole)
    losses = make_loss()(make_outputs(), [ANCHORS], [target])
    # Cells 5, 6 and 7 of a row are cropped away, and the object is there.
    entropy = 8 * (5 * math.log(2) + 3 * 100)
    assert losses["loss_mask"].item() == pytest.approx(6.125 * entropy / (4 * 8), rel=1e-6)


def test_a_part_of_the_masks_stands_for_all():
    target = make_target([LEFT, [8, 0, 16, 16]], [1, 2])
    both = make_loss()(make_outputs(), [ANCHORS], [target])["loss_mask"]
    # At the edge of the image there is no column beside the box on one side: both are alike.
    one = make_loss(masks_to_train=1)(make_outputs(), [ANCHORS], [target])["loss_mask"]
    torch.testing.assert_close(one, both)


@pytest.mark.parametrize("shift", [0.0, -300.0])
def test_hardest_background_first(shift):
    """upstream: hard-negatives"""
    # Anchors: positive, neutral, and background that is taken for an object ever more.
    logits = torch.zeros(1, 6, 2)
    logits[0, 2:, 1] = torch.tensor([1.0, 4.0, 2.0, 3.0])
    # Another image, whose greatest logit is far above these.
    batch = torch.cat([logits + shift, torch.full((1, 6, 2), 50.0)])
    labels = torch.tensor([[1, NEUTRAL, 0, 0, 0, 0], [0] * 6])
    chosen = select_hard(batch, labels, 2)
    assert chosen[0].tolist() == [True, False, False, True, False, True]
    assert not chosen[1].any()


def test_objects_of_a_class_are_one_region():
    logits = []

    def semantic(finest):
        logits.append(torch.full((1, NUM_FOREGROUND, 4, 4), -20.0))
        logits[-1][0, 0, :, :] = 20
        return logits[-1] + finest[:, :1] * 0

    target = make_target([LEFT, [4, 0, 16, 16]], [1, 1])
    losses = make_loss(semantic=semantic)(make_outputs(), [ANCHORS], [target])
    assert losses["loss_segm"].item() == pytest.approx(0, abs=1e-6)


def test_crowds_have_neither_class_nor_mask():
    target = make_target([LEFT, [8, 0, 16, 16]], [1, -1])
    losses = make_loss()(make_outputs(), [ANCHORS], [target])
    # The right anchor lies in the crowd: only the positive is left.
    assert losses["loss_cls"].item() == pytest.approx(math.log(4), rel=1e-6)
    one = YolactTarget.of(target, torch.device("cpu"))
    assert (len(one.boxes), len(one.masks), len(one.crowds)) == (1, 1, 1)


def test_rescoring_learns_from_masks_that_are_large_enough():
    class Constant(torch.nn.Module):
        def forward(self, masks):
            return masks.new_full((len(masks), NUM_FOREGROUND), 0.2) + masks.sum() * 0

    target = make_target([LEFT], [3])
    outputs = make_outputs()
    with torch.no_grad():
        outputs.prototypes[:, 0] = 5
        outputs.coefficients[0][:, 0] = 1
    # The mask is the box and the column beside it: 5 of 8 columns, 4 of them the object.
    losses = make_loss(Constant(), min_maskiou_area=31)(outputs, [ANCHORS], [target])
    assert losses["loss_maskiou"].item() == pytest.approx(25 * 0.5 * (0.8 - 0.2) ** 2, rel=1e-5)
    losses = make_loss(Constant(), min_maskiou_area=32)(outputs, [ANCHORS], [target])
    assert losses["loss_maskiou"].item() == 0


@pytest.mark.parametrize("num_images", [0, 1, 2])
def test_nothing_to_find(num_images):
    net = MaskIoUNet(num_foreground=NUM_FOREGROUND)
    outputs = make_outputs(num_images, grid=64)
    empty = BoxList(torch.zeros(0, 4), (16, 16))
    empty.add_field("labels", torch.zeros(0, dtype=torch.int64))
    losses = make_loss(net)(outputs, [ANCHORS], [empty] * num_images)
    assert all(losses[name].item() == 0 for name in losses if name != "loss_segm")
    sum(losses.values()).backward()
    for field in (outputs.codes[0], outputs.logits[0], outputs.coefficients[0], outputs.prototypes):
        assert field.grad is not None
        assert not field.grad.any()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_losses_under_autocast_are_computed_in_full_precision():
    outputs = make_outputs()
    with torch.no_grad():
        outputs.prototypes.normal_()
        outputs.coefficients[0].normal_()
    arguments = (outputs, [ANCHORS], [make_target([LEFT], [2])])
    expected = make_loss()(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        found = make_loss()(*arguments)
    assert found == expected
