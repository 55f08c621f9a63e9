import numpy as np
import pytest
import torch

from maskrcnn_benchmark.layers import IOULoss, SigmoidFocalLoss
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.modeling.dense.fcos.locations import compute_locations
from maskrcnn_benchmark.modeling.dense.fcos.loss import FCOSLoss
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner, FCOSTargetSettings
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.golden_data import golden_npz
from tests.modeling.dense.fcos.examples import STRIDES, golden_targets, make_assigner

NUM_FOREGROUND = 80


def make_loss(assigner, loc_loss_type="giou", num_foreground=NUM_FOREGROUND):
    return FCOSLoss(
        assigner=assigner,
        focal_loss=SigmoidFocalLoss(2.0, 0.25),
        iou_loss=IOULoss(loc_loss_type),
        num_foreground=num_foreground,
    )


def golden_outputs():
    """Head outputs drawn as ops.json says, with a gradient."""
    sizes = golden_npz("ops")["fcos_level_sizes"]
    rng = np.random.Generator(np.random.PCG64(7))

    def draw(channels, mean, std, transform=lambda x: x):
        maps = [transform(rng.normal(mean, std, (2, channels, h, w))) for h, w in sizes]
        return [torch.from_numpy(m.astype(np.float32)).requires_grad_() for m in maps]

    return FCOSOutputs(
        logits=draw(NUM_FOREGROUND, -3, 1.5),
        ltrb=draw(4, 3.5, 0.7, np.exp),
        centerness=draw(1, 0, 1),
    )


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["inside", "center"])
@pytest.mark.parametrize("loc_loss_type", ["iou", "linear_iou", "giou"])
def test_losses_equal_the_original_ones(kind, loc_loss_type):
    outputs = golden_outputs()
    loss = make_loss(make_assigner(center_sample=kind == "center"), loc_loss_type)
    losses = loss(outputs, compute_locations(outputs.logits, STRIDES, 1), golden_targets())
    names = ["loss_cls", "loss_reg", "loss_centerness"]
    data = golden_npz("ops")
    values = [losses[name].item() for name in names]
    np.testing.assert_allclose(values, data[f"fcos_{kind}_loss_{loc_loss_type}"], rtol=1e-5)
    if loc_loss_type == "giou":
        sum(losses.values()).backward()
        norms = [m.grad.norm().item() for maps in outputs for m in maps]
        np.testing.assert_allclose(norms, data[f"fcos_{kind}_loss_gradnorm"], rtol=1e-4, atol=1e-7)


def tiny_case(boxes, num_images=1):
    """Outputs on one 2 x 2 level of stride 8, two classes."""
    settings = FCOSTargetSettings((8,), ((-1.0, 1e8),))
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(num_images, c, 2, 2, generator=generator) for c in (2, 4, 1)]
    outputs = FCOSOutputs(*([m.exp().requires_grad_()] for m in maps))
    targets = []
    for _ in range(num_images):
        target = BoxList(torch.tensor(boxes).reshape(-1, 4), (16, 16))
        target.add_field("labels", torch.ones(len(target), dtype=torch.int64))
        targets.append(target)
    loss = make_loss(FCOSTargetAssigner(settings), num_foreground=2)
    return outputs, loss(outputs, compute_locations(outputs.logits, (8,), 1), targets)


def test_classification_is_divided_by_positives_and_images():
    outputs, losses = tiny_case([[0.0, 0.0, 8.0, 8.0]])
    logits = flatten_levels(outputs.logits, 2)[0]
    labels = torch.tensor([1, 0, 0, 0], dtype=torch.int32)
    expected = SigmoidFocalLoss(2.0, 0.25)(logits, labels) / (1 + 1)
    torch.testing.assert_close(losses["loss_cls"], expected)


def test_without_positives_losses_are_zero_and_every_output_has_a_gradient():
    outputs, losses = tiny_case([])
    assert losses["loss_reg"] == 0
    assert losses["loss_centerness"] == 0
    sum(losses.values()).backward()
    assert outputs.ltrb[0].grad.abs().sum() == 0
    assert outputs.centerness[0].grad.abs().sum() == 0
    assert outputs.logits[0].grad.abs().sum() > 0


def test_infinite_distances_of_background_do_not_reach_the_loss():
    outputs, _ = tiny_case([])
    outputs.ltrb[0].data.fill_(float("inf"))
    assigner = FCOSTargetAssigner(FCOSTargetSettings((8,), ((-1.0, 1e8),)))
    empty = BoxList(torch.zeros(0, 4), (16, 16))
    empty.add_field("labels", torch.zeros(0, dtype=torch.int64))
    losses = make_loss(assigner, num_foreground=2)(
        outputs, compute_locations(outputs.logits, (8,), 1), [empty]
    )
    assert torch.isfinite(sum(losses.values()))


def test_flatten_levels_keeps_points_of_a_cell_together():
    level = torch.arange(2 * 3 * 1 * 2).reshape(1, 6, 1, 2)  # two points of width 3, two cells
    flat = flatten_levels([level], 3)
    assert flat.tolist() == [[[0, 2, 4], [6, 8, 10], [1, 3, 5], [7, 9, 11]]]
