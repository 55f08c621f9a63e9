"""TensorMask with the original's weights against the original, on two photos."""

import math

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch

from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.layers import swap_align2nat
from maskrcnn_benchmark.modeling.postprocessing import clip_detections
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.weights.detectron2 import convert_detectron2
from tests.parity import tensormask_reference as reference

pytestmark = [pytest.mark.slow, pytest.mark.golden]

NUM_UNMATCHED = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reference.build_model(tmp_path_factory.mktemp("tensormask"))


@pytest.fixture(scope="module")
def data():
    dataset = reference.load_data()
    return [dataset[index] for index in range(2)]


@pytest.fixture(scope="module")
def batch(data):
    return to_image_list([image for image, *_ in data], 32)


@pytest.fixture(scope="module")
def outputs(model, batch):
    with torch.no_grad():
        maps = model.eval().backbone(batch.tensors)
        return maps, model.rpn.head(maps)


def test_names_are_all_taken(model):
    facts = reference.facts()
    assert sum(p.numel() for p in model.parameters()) == facts["num_parameters"]
    anchors = [name for name in model.state_dict() if "cell_anchors" in name]
    assert len(model.state_dict()) == len(facts["state_dict"]) + len(anchors)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == set(renamed(facts["trainable"]))


def renamed(names):
    """Ours -> place among theirs."""
    numbers = {name: torch.tensor(place) for place, name in enumerate(names)}
    # A RetinaNet's names are told from these by those of the masks.
    kept = {name: number.reshape(1) for name, number in numbers.items()}
    return {
        name: int(number)
        for name, number in convert_detectron2(kept, same_rules=True).tensors.items()
    }


def test_predictions(model, batch, outputs):
    facts, (maps, found) = reference.facts(), outputs
    assert list(batch.tensors.shape) == facts["batch_shape"]
    for n, image in enumerate(batch.tensors):
        corner = torch.from_numpy(reference.arrays()[f"input{n}_corner"])
        torch.testing.assert_close(image[:, :8, :8], corner, rtol=0, atol=1e-4)
    for level in range(6):
        reference.assert_sampled(f"fpn{level}", maps[level])
        reference.assert_sampled(f"cls_logits{level}", found.logits[level])
        reference.assert_sampled(f"bbox_pred{level}", found.deltas[level])
        reference.assert_sampled(f"mask_fused{level}", found.mask_maps[level])
        for side, layer in model.rpn.head.mask_pred.items():
            with torch.no_grad():
                dense = swap_align2nat(layer(found.mask_maps[level]), 2**level)
            reference.assert_sampled(f"mask_logits{level}_{side}", dense)


def select(model, batch, outputs):
    """The detections before they are clipped."""
    maps, found = outputs
    return model.rpn.select_test(found, model.rpn.anchor_generator(maps), batch.image_sizes)


def matched(found, boxes, labels, scores):
    """For each of theirs ours of the same class nearest to it, or -1."""
    distances = torch.cdist(found.bbox, torch.as_tensor(boxes), p=math.inf)
    distances[found.labels[:, None] != torch.as_tensor(labels)] = math.inf
    distances[(found.scores[:, None] - torch.as_tensor(scores)).abs() > 1e-4] = math.inf
    nearest, order = distances.min(dim=0)
    return torch.where(nearest <= 0.05, order, -1)


def test_detections_of_a_batch(model, batch, outputs):
    arrays, facts = reference.arrays(), reference.facts()
    for n, found in enumerate(select(model, batch, outputs)):
        expected = [arrays[f"det{n}_{name}"] for name in ("boxes", "labels", "scores")]
        assert len(found) == len(expected[0])
        order = matched(found, *expected)
        assert (order < 0).sum() <= NUM_UNMATCHED
        offsets, samples = arrays[f"det{n}_mask_offsets"], arrays[f"det{n}_mask_samples"]
        masks = found.predicted_masks
        for theirs, ours in enumerate(order.tolist()):
            if ours < 0:
                continue
            (mask,), anchor = masks.masks[ours], masks.boxes[ours]
            assert len(mask) == arrays[f"det{n}_mask_sizes"][theirs]
            assert torch.equal(anchor, torch.from_numpy(arrays[f"det{n}_anchors"][theirs]))
            step = max(1, math.ceil(mask.numel() / 400))
            expected = samples[offsets[theirs] : offsets[theirs + 1]].astype(np.float32)
            np.testing.assert_allclose(mask.flatten()[::step], expected, rtol=0, atol=2e-3)
        assert len(clip_detections(found)) == facts["detections"][n]["n_after_clip"]


def test_detections_of_the_fast_mode(model, batch):
    arrays = reference.arrays()
    detect = INFERENCE_MODES["fast"](model.eval(), torch.device("cpu"))
    with torch.no_grad():
        for n, found in enumerate(detect(batch)):
            boxes, labels, scores = (
                torch.from_numpy(arrays[f"det{n}_{name}"]) for name in ("boxes", "labels", "scores")
            )
            theirs = BoxList(boxes, found.size, pixel_offset=0)
            theirs.add_field("labels", labels)
            theirs.add_field("scores", scores)
            theirs = clip_detections(theirs)
            assert len(found) == len(theirs)
            order = matched(found, theirs.bbox, theirs.labels, theirs.scores)
            assert (order < 0).sum() <= NUM_UNMATCHED


def test_results_of_single_photos(model, data):
    facts = reference.facts()
    categories = {int(label): i for label, i in facts["contiguous_to_coco_id"].items()}
    for (image, _, _), info in zip(data, facts["images"], strict=True):
        with torch.no_grad():
            (found,) = model.eval()(to_image_list([image], 32))
        height, width = info["original_hw"]
        found = found.resize((width, height))
        boxes = box_results(info["id"], found, categories)
        masks = mask_results(info["id"], found, categories)
        expected = [
            (box, mask)
            for box, mask in zip(facts["coco_bbox"], facts["coco_segm"], strict=True)
            if box["image_id"] == info["id"]
        ]
        assert len(boxes) == len(masks) == len(expected)
        assert num_missing(boxes, masks, expected) <= NUM_UNMATCHED


def num_missing(boxes, masks, expected):
    missing = 0
    for box, mask in expected:
        same = [
            ours["segmentation"]
            for found, ours in zip(boxes, masks, strict=True)
            if found["category_id"] == box["category_id"]
            and np.abs(np.subtract(found["bbox"], box["bbox"])).max() <= 0.05
            and abs(found["score"] - box["score"]) <= 1e-4
            and abs(ours["score"] - mask["score"]) <= 1e-4
        ]
        if not same:
            missing += 1
            continue
        ious = mask_utils.iou(same, [mask["segmentation"]], [0])
        assert ious.max() >= 0.99
    return missing


def test_positives(model, outputs, data):
    facts, (maps, found) = reference.facts(), outputs
    targets = [target for _, target, _ in data]
    for n, target in enumerate(targets):
        expected = torch.from_numpy(reference.arrays()[f"gt{n}_boxes"])
        torch.testing.assert_close(target.bbox, expected, rtol=0, atol=1e-4)
        assert target.labels.tolist() == reference.arrays()[f"gt{n}_labels"].tolist()
    positives = model.rpn.loss.find_positives(found, model.rpn.anchor_generator(maps), targets)
    assert positives.images.bincount().tolist() == facts["train"]["num_positives"]
    theirs = reference.arrays()["train_positives"]
    ours = torch.stack([positives.images, *positives.places], dim=1).tolist()
    pixels = [
        int(reference.rasterize(targets[image], n, anchor, 2**level * (11, 15)[size]).sum())
        for (image, level, _, _, size), n, anchor in zip(
            ours, positives.objects.tolist(), positives.anchors.tolist(), strict=True
        )
    ]
    assert sorted([*row, n] for row, n in zip(ours, pixels, strict=True)) == sorted(theirs.tolist())


def test_losses_and_gradients(model, batch, data):
    facts = reference.facts()
    model.train()
    model.zero_grad()
    losses = model(batch, [target for _, target, _ in data])
    assert set(losses) == set(facts["train"]["losses"])
    for name, value in facts["train"]["losses"].items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name
    sum(losses.values()).backward()
    norms = reference.arrays()["grad_norms"]
    state = model.state_dict(keep_vars=True)
    for name, place in renamed(facts["grad_names"]).items():
        norm = state[name].grad.double().norm().item()
        assert norm == pytest.approx(float(norms[place]), rel=2e-3, abs=1e-6), name
