"""ShapeMask with made-up weights against its authors' program, on two photos."""

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch

from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.modeling.dense.shapemask.anchors import ShapeMaskAnchors, encode_boxes
from maskrcnn_benchmark.modeling.dense.shapemask.loss import match_anchors
from maskrcnn_benchmark.modeling.dense.shapemask.samples import MaskSampler
from maskrcnn_benchmark.modeling.dense.shapemask.settings import ShapeMaskSettings
from maskrcnn_benchmark.solver import make_optimizer
from tests.parity import shapemask_reference as reference

pytestmark = [pytest.mark.slow, pytest.mark.golden]
R50 = reference.CASES[0]
STRIDES = (8, 16, 32, 64, 128)


@pytest.fixture(scope="module", params=reference.CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def model(case, tmp_path_factory):
    return reference.build_model(case, tmp_path_factory.mktemp("shapemask"))


@pytest.fixture(scope="module")
def images(case):
    return reference.load_images(case)


@pytest.fixture(scope="module")
def run(model, images):
    """What the model computes of the photos: by name, and its detections."""
    head = model.roi_heads["mask"]
    seen = {}
    hooks = [
        part.register_forward_hook(
            lambda _m, args, out, name=name: seen.update({name: (args, out)})
        )
        for name, part in {
            "body": model.backbone.body,
            "fpn": model.backbone.fpn,
            "head": model.rpn.head,
            "reduce": head.reduce,
            "prior_classifier": head.prior_classifier,
            "coarse": head.coarse,
        }.items()
    ]
    with torch.no_grad():
        detections = model.eval()(images)
    for hook in hooks:
        hook.remove()
    return seen, detections


def test_names_and_sizes(model, case):
    facts = reference.facts(case)
    assert sum(p.numel() for p in model.parameters()) == facts["num_parameters"]
    ours = {
        name: list(value.shape)
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert ours == {name: shape for name, shape, _ in facts["state_dict"]}


def test_maps(case, images, run):
    seen, _ = run
    for n, image in enumerate(images.tensors):
        reference.assert_sampled(case, f"input{n}", image, rtol=0, atol=1e-5)
        corner = torch.from_numpy(reference.arrays(case)[f"input{n}_corner"])
        torch.testing.assert_close(image[:, :8, :8], corner, rtol=0, atol=1e-5)
    for level, one in enumerate(seen["body"][1], start=2):
        reference.assert_sampled(case, f"c{level}", one)
    for level, one in enumerate(seen["fpn"][1]):
        reference.assert_sampled(case, f"fpn{level}", one)
    for level in range(5):
        reference.assert_sampled(case, f"cls_logits{level}", seen["head"][1].logits[level])
        reference.assert_sampled(case, f"bbox_pred{level}", seen["head"][1].codes[level])


def nearest(found, boxes, labels):
    """For each of the reference's detections ours: same class, nearest box, or -1."""
    distances = torch.cdist(found.bbox, torch.from_numpy(boxes), p=np.inf)
    distances[found.labels[:, None] != torch.from_numpy(labels.astype(np.int64))] = np.inf
    best, order = distances.min(dim=0)
    return torch.where(best < 0.05, order, -1)


def matched(found, case, n):
    """The places of ours and theirs, which are the same but for two."""
    arrays = reference.arrays(case)
    ours = nearest(found, arrays[f"det{n}_boxes"], arrays[f"det{n}_labels"])
    (theirs,) = (ours >= 0).nonzero(as_tuple=True)
    assert max(len(found), len(ours)) - len(theirs) <= 2
    ours = ours[theirs]
    assert len(ours.unique()) == len(ours)
    scores = torch.from_numpy(arrays[f"det{n}_scores"])[theirs]
    torch.testing.assert_close(found.scores[ours], scores, rtol=0, atol=1e-4)
    return ours, theirs


def test_detections(case, run):
    seen, detections = run
    arrays = reference.arrays(case)
    counts = [len(found) for found in detections]
    (_, priors, _), coarse = seen["coarse"]
    parts = zip(coarse.split(counts), priors.split(counts), strict=True)
    for n, (found, (own_coarse, own_priors)) in enumerate(zip(detections, parts, strict=True)):
        ours, theirs = matched(found, case, n)
        masks = found.predicted_masks
        outer = torch.from_numpy(arrays[f"det{n}_outer_boxes"])[theirs]
        torch.testing.assert_close(masks.boxes[ours], outer, rtol=0, atol=0.08)
        is_fourth = theirs % 4 == 0
        places = theirs[is_fourth] // 4
        expected = torch.from_numpy(arrays[f"det{n}_priors"].astype(np.float32))[places]
        torch.testing.assert_close(own_priors[ours[is_fourth]], expected, rtol=0, atol=2e-3)
        expected = torch.from_numpy(arrays[f"det{n}_coarse_logits"].astype(np.float32))[places]
        differences = (own_coarse[ours[is_fourth], ::2, ::2] - expected).abs()
        assert differences.max() < 1e-2
        expected = torch.from_numpy(arrays[f"det{n}_masks"].astype(np.float32))[theirs]
        differences = (masks.masks[ours, 0, 2::5, 2::5] - expected).abs().amax(dim=(1, 2))
        assert (differences > 3e-3).sum() <= 6
        # A coarse logit next to 0 may flip.
        assert differences.max() < 0.1


def test_prior_weights(case, run):
    seen, detections = run
    arrays = reference.arrays(case)
    counts = [len(found) for found in detections]
    logits = seen["prior_classifier"][1].unflatten(1, (-1, 20)).split(counts)
    for n, (found, own) in enumerate(zip(detections, logits, strict=True)):
        ours, theirs = matched(found, case, n)
        outputs = torch.zeros_like(found.labels) if own.shape[1] == 1 else found.labels
        weights = own[torch.arange(len(found)), outputs].softmax(dim=1)
        expected = torch.from_numpy(arrays[f"det{n}_prior_weights"])[theirs]
        torch.testing.assert_close(weights[ours], expected, rtol=0, atol=1e-3)


def test_results(case, run):
    """COCO's results of the photos: the reference's, mask by mask."""
    facts = reference.facts(case)
    categories = {int(label): i for label, i in facts["contiguous_to_coco_id"].items()}
    for n, (found, info) in enumerate(zip(run[1], facts["images"], strict=True)):
        ours, theirs = matched(found, case, n)
        height, width = info["original_hw"]
        scaled = found.resize((width, height))
        boxes = box_results(info["id"], scaled, categories)
        masks = mask_results(info["id"], scaled, categories)
        of_image = [
            pair
            for pair in zip(facts["coco_bbox"], facts["coco_segm"], strict=True)
            if pair[0]["image_id"] == info["id"]
        ]
        num_worse = 0
        for mine, their in zip(ours.tolist(), theirs.tolist(), strict=True):
            box, mask = of_image[their]
            assert boxes[mine]["category_id"] == box["category_id"]
            np.testing.assert_allclose(boxes[mine]["bbox"], box["bbox"], atol=0.06)
            assert masks[mine]["score"] == pytest.approx(mask["score"], abs=1e-4)
            num_worse += not is_same_mask(masks[mine]["segmentation"], mask["segmentation"])
        assert num_worse == 0


def is_same_mask(one, other):
    """Whether the IoU is at least 0.98, or three pixels differ."""
    area = mask_utils.area(mask_utils.merge([one, other]))
    shared = mask_utils.area(mask_utils.merge([one, other], intersect=True))
    return int(area) - int(shared) <= max(3, 0.02 * int(area))


def test_detections_of_the_fast_mode(model, case, images):
    if case != R50:
        pytest.skip("the parts that the mode replaces are those of the other cases, too")
    detect = INFERENCE_MODES["fast"](model.eval(), torch.device("cpu"))
    with torch.no_grad():
        detections = detect(images)
    for n, found in enumerate(detections):
        ours, theirs = matched(found, case, n)
        expected = torch.from_numpy(reference.arrays(case)[f"det{n}_masks"].astype(np.float32))
        found_masks = found.predicted_masks.masks[ours, 0, 2::5, 2::5]
        differences = (found_masks - expected[theirs]).abs().amax(dim=(1, 2))
        assert (differences > 3e-3).sum() <= 6


def in_order(number):
    """The objects as they come."""
    return torch.arange(number)


def test_targets():
    """From annotations to boxes, classes and masks of samples, by the transforms."""
    arrays = reference.arrays(R50)
    maps = [torch.zeros(1, 1, 640 // stride, 640 // stride) for stride in STRIDES]
    anchors = torch.cat(ShapeMaskAnchors(strides=STRIDES, settings=ShapeMaskSettings())(maps))
    sampler = MaskSampler(settings=ShapeMaskSettings(jitter=0.0), order=in_order)
    for n, target in enumerate(reference.load_targets(R50)):
        # Those of the program are what it has before it clips.
        expected = torch.from_numpy(arrays[f"gt{n}_boxes"]).clamp(max=639)
        torch.testing.assert_close(target.bbox, expected, rtol=0, atol=1e-3)
        assert target.labels.tolist() == arrays[f"gt{n}_labels"].tolist()
        positives = match_anchors(anchors, target.bbox, 0.5)
        assert positives.anchors.tolist() == arrays[f"gt{n}_positive_index"].tolist()
        labels = target.labels[positives.objects]
        assert labels.tolist() == arrays[f"gt{n}_positive_class"].tolist()
        codes = encode_boxes(target.bbox[positives.objects], anchors[positives.anchors])
        expected = torch.from_numpy(arrays[f"gt{n}_positive_codes"])
        torch.testing.assert_close(codes, expected, rtol=0, atol=1e-4)
        samples = sampler(target, (640, 640))
        for name, value in {"mask_boxes": samples.boxes, "mask_outer_boxes": samples.outer}.items():
            expected = torch.from_numpy(arrays[f"gt{n}_{name}"])
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-3)
        assert samples.labels.tolist() == arrays[f"gt{n}_mask_classes"].tolist()
        assert samples.weights.tolist() == arrays[f"gt{n}_mask_valid"].tolist()
        for name, value in {"mask": samples.coarse, "fine": samples.fine}.items():
            packed = arrays[f"gt{n}_{name}_targets"]
            expected = np.unpackbits(packed, axis=1).reshape(value.shape)
            assert (value.numpy() != expected).sum() <= 1


@pytest.fixture(scope="module")
def batch():
    return reference.load_images(R50), reference.load_targets(R50)


def make_trained(folder):
    model = reference.build_model(R50, folder, "MODEL.DENSE.SETTINGS.JITTER", 0.0)
    model.roi_heads["mask"].sampler.order = in_order
    return model.train()


def assert_losses(losses, expected, tolerance):
    for name, (theirs, factor) in reference.LOSSES.items():
        value = factor * expected[theirs]
        assert losses[name].item() == pytest.approx(value, rel=tolerance), name
    total = sum(losses.values()).item()
    assert total == pytest.approx(expected["model_loss"], rel=tolerance)


def assert_gradients(model, kind, tolerance):
    train, arrays = reference.facts(R50)["train"][kind], reference.arrays(R50)
    key = {"frozen": "train_frozen_grad_norms", "batch_norm": "train_batch_grad_norms"}[kind]
    norms = dict(zip(train["grad_names"], arrays[key].tolist(), strict=True))
    found = {
        name: p.grad.double().norm().item()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    assert set(found) == set(norms)
    for name, norm in norms.items():
        assert abs(found[name] - norm) / (norm + 1e-3) < tolerance, name


def test_losses_and_gradients_of_still_norms(batch, tmp_path):
    model = make_trained(tmp_path)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    seen = {}
    head = model.roi_heads["mask"]
    head.coarse.register_forward_hook(lambda _m, args, out: seen.update(priors=args[1], coarse=out))
    head.fine.register_forward_hook(lambda _m, _a, out: seen.update(fine=out))
    losses = model(*batch)
    assert_losses(losses, reference.facts(R50)["train"]["frozen"]["losses"], 1e-4)
    arrays = reference.arrays(R50)
    for name, part, tolerance in (
        ("prior_masks", seen["priors"][:, ::4, ::4], 2e-3),
        ("coarse_logits", seen["coarse"][:, ::4, ::4], 1e-2),
        ("fine_logits", seen["fine"][:, 2::12, 2::12], 2e-2),
    ):
        expected = torch.from_numpy(arrays[f"train_frozen_{name}"].astype(np.float32))
        found = part.detach().view(expected.shape)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    sum(losses.values()).backward()
    assert_gradients(model, "frozen", 3e-3)
    decay = sum((p.double() ** 2).sum() for p in model.parameters() if p.requires_grad)
    expected = reference.facts(R50)["train"]["frozen"]["l2_regularization"]
    assert 0.5e-4 * decay.item() == pytest.approx(expected, rel=1e-5)


def test_steps_of_sgd_with_norms_that_learn(batch, tmp_path):
    train, arrays = reference.facts(R50)["train"]["batch_norm"], reference.arrays(R50)
    model = make_trained(tmp_path)
    optimizer = make_optimizer(reference.load_config(R50, "SOLVER.BASE_LR", 0.001), model)
    first, *later = train["trace"]["losses"]
    losses = model(*batch)
    assert_losses(losses, first, 5e-4)
    sum(losses.values()).backward()
    assert_gradients(model, "batch_norm", 5e-2)
    state = model.state_dict()
    names = [name for name in arrays if name.startswith("train_batch_after1:")]
    assert names
    for name in names:
        found, expected_values = state[name.split(":")[1]], torch.from_numpy(arrays[name])
        torch.testing.assert_close(found, expected_values, rtol=0, atol=1e-3)
    for step, expected in enumerate(later):
        if step > 0:
            optimizer.zero_grad()
            sum(losses.values()).backward()
        optimizer.step()
        losses = model(*batch)
        assert_losses(losses, expected, 2e-3)
