import math

import pytest
import torch
from torch.nn import functional as F

from maskrcnn_benchmark.layers import swap_align2nat
from maskrcnn_benchmark.structures.mask_targets import crop_and_rasterize_precisely
from tests.modeling.dense.tensormask.examples import make_inputs, make_stage, make_target

OBJECTS = [[10.0, 12.0, 30.0, 40.0], [40.0, 33.0, 60.0, 50.0]]


def test_losses_are_those_of_the_formulas():
    stage = make_stage()
    images, maps = make_inputs()
    targets = [make_target(OBJECTS), make_target([[0.0, 0.0, 64.0, 64.0]])]
    losses = stage.train()(images, maps, targets).losses
    with torch.no_grad():
        outputs = stage.head(maps)
    positives = stage.loss.find_positives(outputs, stage.anchor_generator(maps), targets)
    assert len(positives.images) > 3
    assert len(positives.places.levels.unique()) > 1
    with torch.no_grad():
        expected = restated_losses(outputs, positives)
        expected["loss_mask"] = restated_mask_loss(outputs, positives, targets)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name


def restated_losses(outputs, positives):
    """Class and box loss, number by number."""
    truth = {
        (int(image), *(int(each[n]) for each in positives.places)): n
        for n, image in enumerate(positives.images)
    }
    of_classes = of_boxes = 0.0
    for level, (logits, deltas) in enumerate(zip(outputs.logits, outputs.deltas, strict=True)):
        num_images, channels, height, width = logits.shape
        for image, channel, y, x in torch.cartesian_prod(
            *map(torch.arange, (num_images, channels, height, width))
        ).tolist():
            size, label = divmod(channel, 3)
            n = truth.get((image, level, y, x, size))
            is_object = n is not None and positives.labels[n] == label + 1
            sign, alpha = (1, 0.3) if is_object else (-1, 0.7)
            value = float(logits[image, channel, y, x])
            of_classes += alpha * math.log1p(math.exp(-3 * sign * value)) / 3
        for (image, place, y, x, size), n in truth.items():
            if place == level:
                codes = deltas[image, 4 * size : 4 * size + 4, y, x].tolist()
                wanted = code(positives.boxes[n].tolist(), positives.anchors[n].tolist())
                of_boxes += sum(abs(a - b) for a, b in zip(codes, wanted, strict=True))
    count = len(positives.images)
    return {"loss_cls": of_classes / count, "loss_box_reg": of_boxes / count}


def restated_mask_loss(outputs, positives, targets):
    """Mask loss, window by window, of what the dense operator makes of the maps."""
    total = 0.0
    places = (each.tolist() for each in positives.places)
    for n, (image, level, y, x, size) in enumerate(
        zip(positives.images.tolist(), *places, strict=True)
    ):
        maps = outputs.mask_maps[level][image : image + 1]
        stored = F.conv2d(maps, outputs.filters[size][:, :, None, None], outputs.biases[size])
        logits = swap_align2nat(stored, 2**level)[0, :, y, x]
        mask = targets[image].get_field("masks")[[int(positives.objects[n])]]
        side = (11, 15)[size] * 2**level
        truth = crop_and_rasterize_precisely(mask, positives.anchors[n][None], side).flatten()
        costs = torch.where(truth, 1.5 * F.softplus(-logits), F.softplus(logits))
        total += 2 * float(costs.mean())
    return total / len(positives.images)


def code(box, window):
    wide, high = (window[2] - window[0], window[3] - window[1])
    dx = (box[0] + box[2] - window[0] - window[2]) / 2 / wide
    dy = (box[1] + box[3] - window[1] - window[3]) / 2 / high
    growth = [math.log((box[2] - box[0]) / wide), math.log((box[3] - box[1]) / high)]
    return [1.5 * dx, 1.5 * dy, *(0.75 * each for each in growth)]


@pytest.mark.parametrize("options", [(), ("MODEL.DENSE.SETTINGS.BIPYRAMID_ON", False)])
@pytest.mark.parametrize(
    ("objects", "num_images", "side"),
    [(OBJECTS, 2, 64), ([], 2, 64), ([], 0, 64), ([[0.0, 0.0, 2.0, 3.0]], 1, 1)],
)
def test_everything_has_a_finite_gradient(objects, num_images, side, options):
    stage = make_stage(*options)
    images, maps = make_inputs(num_images, side)
    losses = stage.train()(images, maps, [make_target(objects, side)] * num_images).losses
    sum(losses.values()).backward()
    for name, parameter in stage.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(one.grad.isfinite().all() for one in maps)


def test_under_autocast_losses_are_of_32_bits():
    stage = make_stage()
    images, maps = make_inputs()
    targets = [make_target(OBJECTS)] * 2
    exact = stage.train()(images, maps, targets).losses
    with torch.autocast("cpu", torch.bfloat16):
        losses = stage(images, maps, targets).losses
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact[name].item(), rel=0.05)
