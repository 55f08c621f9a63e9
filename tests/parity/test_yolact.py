"""YOLACT and YOLACT++ with the original's weights against the original, on two photos."""

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch

from maskrcnn_benchmark.data.collate_batch import pad_together
from maskrcnn_benchmark.data.transforms import Compose, ResizeToSquare, ToFloats
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.modeling.dense.levels import flatten_levels
from maskrcnn_benchmark.structures.image_list import to_image_list
from maskrcnn_benchmark.weights.yolact import convert_yolact
from tests.parity import yolact_reference as reference

pytestmark = [pytest.mark.slow, pytest.mark.golden]


@pytest.fixture(scope="module", params=reference.CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def model(case, tmp_path_factory):
    # The goldens of all objects were made without a limit of masks.
    options = ("MODEL.DENSE.SETTINGS.MASKS_TO_TRAIN", 1000)
    return reference.build_model(case, tmp_path_factory.mktemp("yolact"), *options)


@pytest.fixture(scope="module")
def images(case):
    dataset = reference.load_data(case)
    return torch.stack([dataset[index][0] for index in range(2)])


def test_names_and_shapes_are_all_taken(model, case):
    assert sum(p.numel() for p in model.parameters()) == reference.facts(case)["num_parameters"]
    kept = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    theirs = [name for name, *_ in reference.facts(case)["state_dict"]]
    assert len(kept) == len([n for n in theirs if not n.endswith("num_batches_tracked")])


def test_inputs_and_predictions(model, case, images):
    with torch.no_grad():
        for n, image in enumerate(images[:, None]):
            reference.assert_sampled(case, f"input{n}", image, rtol=1e-5, atol=1e-5)
            bodies = model.eval().backbone.body(image)
            maps = model.backbone.fpn(bodies)
            for level, body in enumerate(bodies):
                reference.assert_sampled(case, f"body{level}_{n}", body)
            for level, one in enumerate(maps):
                reference.assert_sampled(case, f"fpn{level}_{n}", one)
            outputs = model.rpn.head(maps)
            reference.assert_sampled(case, f"proto{n}", outputs.prototypes.permute(0, 2, 3, 1))
            reference.assert_sampled(case, f"loc{n}", flatten_levels(outputs.codes, 4))
            reference.assert_sampled(case, f"coef{n}", flatten_levels(outputs.coefficients, 32))
            logits = flatten_levels(outputs.logits, 81)
            reference.assert_sampled(case, f"conf{n}", logits)
            reference.assert_sampled(case, f"prob{n}", logits.softmax(dim=2))
    anchors = torch.cat(model.rpn.anchor_generator(maps))
    step = reference.facts(case)["tensors"].get("priors", {"step": 19})["step"]
    expected = torch.from_numpy(reference.arrays(case)["priors"])
    torch.testing.assert_close(anchors.flatten()[::step], expected, rtol=1e-6, atol=1e-7)


def nearest(found, boxes, labels):
    """For each of the original's detections ours: same class, nearest box, or -1."""
    distances = torch.cdist(found, torch.from_numpy(boxes), p=np.inf)
    distances[labels] = np.inf
    best, order = distances.min(dim=0)
    return torch.where(best < 0.05, order, -1)


def assert_same(found, case, prefix, size, num_unmatched=2):
    """The detections are the original's, but for ``num_unmatched``; returns ours and theirs."""
    arrays = reference.arrays(case)
    boxes, labels = arrays[f"{prefix}_boxes"], arrays[f"{prefix}_labels"]
    scores = torch.from_numpy(arrays[f"{prefix}_scores"])
    side = torch.tensor(size * 2)
    differ = found.labels[:, None] != torch.from_numpy(labels.astype(np.int64))
    ours = nearest(
        found.get_field("relative_boxes") * side, boxes * side.numpy().astype(np.float32), differ
    )
    (theirs,) = (ours >= 0).nonzero(as_tuple=True)
    assert len(found) == len(boxes)
    assert len(boxes) - len(theirs) <= num_unmatched
    ours = ours[theirs]
    torch.testing.assert_close(found.scores[ours], scores[theirs], rtol=0, atol=1e-4)
    return ours, theirs


def test_detections_and_results(model, case, images):
    facts, arrays = reference.facts(case), reference.arrays(case)
    with torch.no_grad():
        detections = model.eval()(images)
    for n, (found, info) in enumerate(zip(detections, facts["images"], strict=True)):
        height, width = info["original_hw"]
        ours, theirs = assert_same(found, case, f"det{n}", (width, height))
        masks = found.predicted_masks
        coefficients = torch.from_numpy(arrays[f"det{n}_coeffs"])[theirs]
        torch.testing.assert_close(masks.coefficients[ours], coefficients, rtol=0, atol=5e-4)
        if found.has_field("mask_scores"):
            expected = torch.from_numpy(arrays[f"det{n}_mask_scores"])[theirs]
            torch.testing.assert_close(
                found.get_field("mask_scores")[ours], expected, rtol=0, atol=1e-4
            )
        probabilities = masks.probabilities()[ours]
        step = facts["tensors"][f"det{n}_cropped_probs"]["step"]
        expected = torch.from_numpy(arrays[f"det{n}_cropped_probs"])
        if torch.equal(ours, theirs):
            torch.testing.assert_close(
                probabilities.flatten()[::step][: len(expected)], expected, rtol=0, atol=2e-3
            )
        assert_results(found.resize((width, height)), facts, info["id"])


def test_detections_of_the_fast_mode(model, case, images):
    detect = INFERENCE_MODES["fast"](model.eval(), torch.device("cpu"))
    with torch.no_grad():
        detections = detect(to_image_list(list(images)))
    for n, (found, info) in enumerate(
        zip(detections, reference.facts(case)["images"], strict=True)
    ):
        assert_same(found, case, f"det{n}", info["original_hw"][::-1])


def assert_results(found, facts, image_id):
    """COCO's results of a photo are the original's: boxes to a pixel, masks to 1 %."""
    categories = {int(label): i for label, i in facts["contiguous_to_coco_id"].items()}
    boxes = box_results(image_id, found, categories)
    masks = mask_results(image_id, found, categories)
    theirs = [
        (box, mask)
        for box, mask in zip(facts["coco_bbox"], facts["coco_segm"], strict=True)
        if box["image_id"] == image_id
    ]
    assert len(boxes) == len(masks) == len(theirs)
    num_unmatched = 0
    for box, mask in zip(boxes, masks, strict=True):
        fitting = [
            other_mask
            for other, other_mask in theirs
            if other["category_id"] == box["category_id"]
            and np.abs(np.subtract(other["bbox"], box["bbox"])).max() <= 1
            and abs(other["score"] - box["score"]) <= 1e-4
        ]
        if not fitting:
            num_unmatched += 1
            continue
        assert any(is_same_mask(mask["segmentation"], o["segmentation"]) for o in fitting)
        assert any(abs(mask["score"] - o["score"]) <= 1e-4 for o in fitting)
    assert num_unmatched <= 2


def is_same_mask(one, other):
    pixels = mask_utils.decode(one) != mask_utils.decode(other)
    area = mask_utils.area(mask_utils.merge([one, other]))
    return pixels.sum() <= max(3, 0.01 * area)


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("conf_thresh_0.3", ("SCORE_THRESHOLD", 0.3)),
        ("top_k_5", ("NMS_TOP_N", 5)),
        ("traditional", ("NMS", "traditional")),
        ("cross_class", ("NMS", "cross_class")),
    ],
)
def test_variants(tmp_path, variant, options):
    case = reference.CASES[0]
    key, value = options
    model = reference.build_model(case, tmp_path, f"MODEL.DENSE.SETTINGS.{key}", value)
    dataset = reference.load_data(case)
    for n in range(2):
        with torch.no_grad():
            (found,) = model.eval()(dataset[n][0][None])
        assert_same(found, case, f"{variant}{n}", (550, 550))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("losses", {}),
        ("losses_without_crowds", {"with_crowds": False}),
        ("few", {"with_crowds": False, "num_objects": 5}),
    ],
)
def test_losses_and_gradients(model, case, images, kind, options):
    facts, arrays = reference.facts(case), reference.arrays(case)
    targets = reference.load_targets(case, **options)
    freeze_norms(model)
    model.zero_grad()
    losses = model(pad_together(list(images), 0, None), targets)
    expected = facts["train"][kind]
    expected = expected.get("losses", expected)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        tolerance = 1e-3 if name == "loss_maskiou" else 1e-4
        assert losses[name].item() == pytest.approx(value, rel=tolerance), name
    norms = {"losses": "grad_norms", "few": "grad_norms_few"}.get(kind)
    if norms is not None:
        sum(losses.values()).backward()
        assert_gradients(model, facts["grad_names"], arrays[norms])


def freeze_norms(model):
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)


def assert_gradients(model, names, norms):
    state = model.state_dict(keep_vars=True)
    renamed = convert_yolact({name: torch.tensor(i) for i, name in enumerate(names)}).tensors
    assert len(renamed) == len(names)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == set(renamed)
    for name, index in renamed.items():
        tolerance = 2e-2 if "conv_offset_mask" in name else 5e-3
        norm = state[name].grad.double().norm().item()
        assert norm == pytest.approx(float(norms[index]), rel=tolerance, abs=1e-6), name


def test_losses_with_norms_in_training(case, images, tmp_path):
    facts = reference.facts(case)["train"]
    model = reference.build_model(case, tmp_path, "MODEL.DENSE.SETTINGS.MASKS_TO_TRAIN", 1000)
    losses = model(pad_together(list(images), 0, None), reference.load_targets(case))
    for name, value in facts["losses_live_bn"].items():
        assert losses[name].item() == pytest.approx(value, rel=1e-3), name
    stem = model.backbone.body.stem.bn1
    for statistic in ("mean", "var"):
        expected = torch.tensor(
            facts["live_bn_running_stats_after"][f"backbone.bn1.running_{statistic}"]
        )
        found = getattr(stem, f"running_{statistic}")
        torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-4, atol=1e-4)


def test_three_steps_of_sgd(case, images, tmp_path):
    sgd = reference.facts(case)["train"]["sgd"]
    model = reference.build_model(case, tmp_path)
    freeze_norms(model)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=sgd["lr"],
        momentum=sgd["momentum"],
        weight_decay=sgd["weight_decay"],
    )
    targets = reference.load_targets(case, with_crowds=False, num_objects=5)
    # The steps are so long that rounding shows: one thread and two differ by 7e-4 in the second;
    # the third is 1.9e-3 off with one and 1.8e-2 (the box loss) with two. It is no fault of the
    # losses: weights moved by 1e-7 of themselves at the start move the third step by 1e-2.
    losses = {}
    for expected, tolerance in zip(sgd["losses"], (1e-4, 2e-3, 3e-2), strict=True):
        if losses:
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        losses = model(pad_together(list(images), 0, None), targets)
        for name, value in expected.items():
            assert losses[name].item() == pytest.approx(value, rel=tolerance), name


@pytest.mark.parametrize("case", reference.CASES[:1])
def test_targets_of_the_data_set(case):
    """From annotations to boxes and bitmaps of the square, by the transforms."""
    facts = reference.facts(case)
    side = facts["facts"]["max_size"]
    dataset = reference.load_data(case)
    dataset.transforms = Compose([ToFloats(with_bitmaps=True), ResizeToSquare(side)])
    dataset.gives_crowds = dataset.gives_bitmaps = True
    for n, entry in enumerate(facts["train"]["targets"]):
        _, target, image_id = dataset[n]
        assert image_id == entry["image_id"]
        assert target.labels.tolist() == entry["labels"]
        edges = (target.bbox + torch.tensor([0, 0, 1, 1])) / side
        torch.testing.assert_close(edges, torch.tensor(entry["boxes"]), rtol=0, atol=2e-5)
        areas = target.get_field("masks").to_bitmasks().sum(dim=(1, 2)).tolist()
        for index, area in enumerate(entry["mask_areas"]):
            if entry["labels"][index] > 0:
                assert areas[index] == area
