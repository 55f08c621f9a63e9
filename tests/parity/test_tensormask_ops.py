"""Single operations of TensorMask against the original's."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config.convention import GridRules
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.tensormask.head import enlarged
from maskrcnn_benchmark.modeling.dense.tensormask.loss import focal_star_loss, mask_loss
from maskrcnn_benchmark.modeling.dense.tensormask.matching import WindowMatcher
from maskrcnn_benchmark.modeling.dense.tensormask.places import locate
from maskrcnn_benchmark.structures.paste_rules import SUB_PIXEL_PASTE
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks
from tests.golden_data import golden_json, golden_npz
from tests.parity import tensormask_reference as reference

pytestmark = pytest.mark.golden

STRIDES = (4, 8, 16, 32, 64, 128)
_STEP = 997
CODER = BoxCoder(weights=(1.5, 1.5, 0.75, 0.75), pixel_offset=0)


@pytest.fixture
def ops():
    found = golden_npz("tensormask/tensormask_ops")
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


@pytest.fixture
def facts():
    return golden_json("tensormask/tensormask_ops")


@pytest.fixture
def grid(facts):
    return [tuple(size_hw) for size_hw in facts["anchors"]["grid"]]


@pytest.fixture
def anchors(grid):
    generator = AnchorGenerator(
        sizes=[(11 * stride, 15 * stride) for stride in STRIDES],
        aspect_ratios=(1.0,),
        strides=STRIDES,
        rules=GridRules(anchors="exact"),
    )
    return generator([torch.zeros(1, 1, *size_hw) for size_hw in grid])


def test_anchors_and_their_places(ops, facts, grid, anchors):
    assert [len(level) // 2 for level in anchors] == [h * w for h, w in grid]
    for level, one in enumerate(anchors):
        assert torch.equal(one[:2], ops[f"cell_anchors{level}"])
    together = torch.cat(anchors)
    assert torch.equal(together[::_STEP], ops["anchors_sample"])
    places = locate(torch.arange(len(together))[::_STEP], grid, 2)
    assert [STRIDES[level] for level in places.levels] == ops["units_sample"].tolist()
    # There the image stands behind the level.
    theirs = ops["indexes_sample"][:, [0, 2, 3, 4]]
    assert torch.equal(torch.stack(places, dim=1), theirs)


def test_matching(ops, grid, anchors):
    matcher = WindowMatcher(strides=STRIDES, smallest=40)
    found = matcher(anchors, grid, ops["assign_gt"])
    order = ops["assign_positive_anchor"].argsort()
    assert torch.equal(found.windows, ops["assign_positive_anchor"][order])
    assert torch.equal(found.objects, ops["assign_positive_gt"][order])
    places = torch.stack(locate(found.windows, grid, 2), dim=1)
    assert torch.equal(places, ops["assign_positive_index"][order])
    assert not set(ops["assign_ambiguous_anchor"].tolist()) & set(found.windows.tolist())


def test_box_codes(ops, anchors):
    starts = torch.cat(anchors)[ops["assign_positive_anchor"]]
    codes = CODER.encode(ops["assign_gt"][ops["assign_positive_gt"]], starts)
    torch.testing.assert_close(codes, ops["codes"], rtol=1e-6, atol=1e-6)
    boxes = CODER.decode(ops["decode_deltas"], starts)
    torch.testing.assert_close(boxes, ops["decode_boxes"], rtol=1e-5, atol=1e-3)


def test_focal_star(ops, facts):
    settings = facts["focal_star"]
    logits, is_positive = ops["focal_logits"].requires_grad_(), ops["focal_targets"] > 0
    alpha, gamma = settings["alpha"], settings["gamma"]
    positives = focal_star_loss(-logits[is_positive], gamma).sum()
    negatives = focal_star_loss(logits[~is_positive], gamma).sum()
    loss = alpha * positives + (1 - alpha) * negatives
    assert loss.item() == pytest.approx(settings["sum"], rel=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad, ops["focal_grad"], rtol=1e-5, atol=1e-6)


def test_mask_loss(ops, facts):
    logits = ops["mask_logits"].requires_grad_()
    loss = 2 * mask_loss(logits, ops["mask_targets"], 1.5)
    assert loss.item() == pytest.approx(facts["mask_loss"]["sum"], rel=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad, ops["mask_grad"], rtol=1e-5, atol=1e-7)


def test_mask_targets(ops, facts):
    targets = reference.load_targets()
    for number, case in enumerate(facts["mask_targets"]):
        side = case["side"]
        found = reference.rasterize(targets[case["image"]], case["gt"], case["box"], side)
        bits = np.unpackbits(ops[f"target{number}"].numpy())[: side * side]
        assert np.array_equal(found.numpy(), bits.reshape(side, side).astype(bool)), case


def test_pasting(ops, facts):
    height, width = facts["paste"]["image_hw"]
    sides = ops["paste_sides"].tolist()
    parts = ops["paste_probabilities"].split([side**2 for side in sides])
    masks = [part.view(1, side, side) for part, side in zip(parts, sides, strict=True)]
    planes = BoxMasks(tuple(masks), ops["paste_boxes"], (width, height), SUB_PIXEL_PASTE).planes()
    assert planes.sum(dim=(1, 2)).tolist() == facts["paste"]["pixels"]
    expected = np.unpackbits(ops["paste_result"].numpy())[: planes.numel()]
    assert np.array_equal(planes.numpy(), expected.reshape(planes.shape))


def test_upsampling(ops):
    like = torch.zeros(1, 1, *ops["upsample_y"].shape[2:])
    found = enlarged(ops["upsample_x"], 8, like)
    torch.testing.assert_close(found, ops["upsample_y"], rtol=1e-6, atol=1e-6)
