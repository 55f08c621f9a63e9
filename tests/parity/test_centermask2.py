"""CenterMask2 gives what its authors' program gives, from the same files.

Weights go the way of a published file: under that program's names, through the checkpointer, into
the shipped configuration.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from torch import Tensor

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data import make_datasets
from maskrcnn_benchmark.data.collate_batch import BatchCollator
from maskrcnn_benchmark.data.transforms import build_pixel_normalizer, build_pixel_transforms
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.evaluation.coco_format import box_results, mask_results
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN, build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.detectron2 import convert_detectron2
from tests.golden.weights_centermask2 import deterministic_state_dict
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

pytestmark = pytest.mark.golden

LITE = "centermask2_centermask_lite_V_39_eSE_FPN_ms_4x"
LARGE = "centermask2_centermask_V_39_eSE_FPN_ms_3x"
CASES = pytest.mark.parametrize("case", [LITE, pytest.param(LARGE, marks=pytest.mark.slow)])
IMAGES = pytest.mark.parametrize("image", [0, 1])
LOSSES = {
    "loss_cls": "loss_fcos_cls",
    "loss_reg": "loss_fcos_loc",
    "loss_centerness": "loss_fcos_ctr",
    "loss_mask": "loss_mask",
    "loss_maskiou": "loss_maskiou",
}


class Evaluation(NamedTuple):
    """What the model makes of the two photos, and before its detections are clipped."""

    features: tuple[Tensor, ...]
    head: Any
    unclipped: list[BoxList]
    detections: list[BoxList]


def make_config(case: str, *options: Any) -> Any:
    cfg = get_default_config()
    cfg.merge_from_file(f"configs/centermask2/{case.removeprefix('centermask2_')}.yaml")
    sizes = ("INPUT.MIN_SIZE_TEST", 320, "INPUT.MAX_SIZE_TEST", 544)
    photos = f"('{GOLDEN_DIR / 'annotations.json'}',)"
    of_run = ("MODEL.WEIGHT", "", "MODEL.DEVICE", "cpu", "DATASETS.TEST", photos)
    cfg.merge_from_list([*sizes, *of_run, *options])
    return cfg


@cache
def file_content(case: str) -> dict[str, Tensor]:
    return deterministic_state_dict(
        {name: torch.zeros(shape) for name, shape, _ in golden_json(case)["state_dict"]}
    )


def make_model(case: str, folder: Path) -> GeneralizedRCNN:
    cfg = make_config(case)
    model = build_detection_model(cfg)
    path = folder / "model_final.pth"
    torch.save({"model": file_content(case), "iteration": 1}, path)
    DetectronCheckpointer(cfg, model).load(os.fspath(path), strict=True)
    path.unlink()
    return model


@cache
def make_batch(case: str) -> tuple[Any, Any]:
    """Images and targets: the photos as the test of a configuration prepares them."""
    cfg = make_config(case)
    (dataset,) = make_datasets(cfg, train=False).test
    dataset.transforms = build_pixel_transforms(cfg, is_train=False)
    collate = BatchCollator(cfg.DATALOADER.SIZE_DIVISIBILITY, build_pixel_normalizer(cfg))
    batch = collate([dataset[index] for index in range(2)])
    return batch.images.to("cpu"), batch.targets


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    @cache
    def evaluation(case: str) -> Evaluation:
        model = make_model(case, tmp_path_factory.mktemp("centermask2")).eval()
        images, _ = make_batch(case)
        with torch.inference_mode():
            features = model.backbone(images.tensors)
            proposals = model.rpn(images, features).boxes
            unclipped = model.roi_heads(features, proposals).boxes
            head = model.rpn.head(features)
            return Evaluation(features, head, unclipped, model(images))

    return evaluation


def pairs_with_reference(case: str, image: int, boxes: BoxList) -> list[tuple[int, int]]:
    """(ours, reference) of the same class whose boxes are within 0.05 px."""
    data = golden_npz(case)
    distances = np.abs(boxes.bbox.numpy()[:, None] - data[f"det{image}_boxes"]).max(axis=2)
    distances[boxes.labels.numpy()[:, None] - 1 != data[f"det{image}_labels"]] = np.inf
    return [(int(row.argmin()), i) for i, row in enumerate(distances.T) if row.min() < 0.05]


@CASES
def test_inputs(case: str):
    images, targets = make_batch(case)
    assert list(images.tensors.shape) == golden_json(case)["batch_shape"]
    data = golden_npz(case)
    for i, info in enumerate(golden_json(case)["images"]):
        assert list(images.image_sizes[i]) == info["transformed_hw"]
        # JPEG decoders differ.
        corner = images.tensors[i, :, :8, :8].numpy()
        assert np.abs(corner - data[f"input{i}_corner"]).max() <= 3
        np.testing.assert_allclose(targets[i].bbox, data[f"gt{i}_boxes"], atol=1e-3)
        np.testing.assert_array_equal(targets[i].labels - 1, data[f"gt{i}_labels"])


@CASES
def test_features_and_head_outputs(case: str, evaluate):
    result, data, info = evaluate(case), golden_npz(case), golden_json(case)["tensors"]
    strides = (8, 16, 32, 64, 128)
    # There distances are in strides.
    distances = [px / stride for px, stride in zip(result.head.ltrb, strides, strict=True)]
    named = {f"fpn_p{level}": maps for level, maps in enumerate(result.features, start=3)}
    parts = (result.head.logits, distances, result.head.centerness)
    for name, levels in zip(("cls_logits", "reg", "ctrness"), parts, strict=True):
        named |= {f"{name}{level}": maps for level, maps in enumerate(levels)}
    for name, maps in named.items():
        ours = maps.flatten()[:: info[name]["step"]].numpy()
        np.testing.assert_allclose(ours, data[name], rtol=1e-3, atol=1e-3, err_msg=name)


@CASES
@IMAGES
def test_detections(case: str, image: int, evaluate):
    found, data = evaluate(case).unclipped[image], golden_npz(case)
    pairs = pairs_with_reference(case, image, found)
    num_reference = len(data[f"det{image}_boxes"])
    # One tie at the cut-off may fall the other way.
    assert abs(len(found) - num_reference) <= 1
    assert len(pairs) >= num_reference - 1
    ours, reference = (list(inds) for inds in zip(*pairs, strict=True))
    for field in ("scores", "mask_scores"):
        expected = data[f"det{image}_{field}"][reference]
        np.testing.assert_allclose(found.get_field(field)[ours], expected, atol=1e-4)
    masks = data[f"det{image}_masks"][reference].astype(np.float32)
    np.testing.assert_allclose(found.get_field("mask")[ours], masks, atol=2e-3)
    assert (found.scores.diff() <= 0).all()


@CASES
@IMAGES
def test_results_in_the_photo(case: str, image: int, evaluate):
    """Rescaled, clipped, pasted: what an evaluation writes."""
    info = golden_json(case)
    height, width = info["images"][image]["original_hw"]
    image_id = info["images"][image]["id"]
    found = evaluate(case).detections[image].resize((width, height))
    ids = {int(label) + 1: json_id for label, json_id in info["class_to_coco_id"].items()}
    boxes, masks = (write(image_id, found, ids) for write in (box_results, mask_results))
    reference = [one for one in info["coco_bbox"] if one["image_id"] == image_id]
    segments = [one for one in info["coco_segm"] if one["image_id"] == image_id]
    assert abs(len(boxes) - len(reference)) <= 1
    ours = np.array([one["bbox"] for one in boxes])
    misses = 0
    for i, one in enumerate(reference):
        distance = np.abs(ours - one["bbox"]).max(axis=1)
        is_other = np.array([each["category_id"] != one["category_id"] for each in boxes])
        nearest = int(np.where(is_other, np.inf, distance).argmin())
        if distance[nearest] > 0.05:
            misses += 1
            continue
        assert boxes[nearest]["score"] == pytest.approx(one["score"], abs=1e-4)
        if i < len(segments) and mask_utils.area(segments[i]["segmentation"]):
            own = masks[nearest]["segmentation"]
            assert mask_utils.iou([own], [segments[i]["segmentation"]], [0])[0, 0] >= 0.99
            assert masks[nearest]["score"] == pytest.approx(segments[i]["score"], abs=1e-4)
    assert misses <= 1


@pytest.mark.slow
@pytest.mark.parametrize("case", [LITE, LARGE])
def test_losses_and_gradients(case: str, tmp_path: Path):
    model = make_model(case, tmp_path).train()
    losses = model(*make_batch(case))
    reference = golden_json(case)["train"]["losses"]
    assert {LOSSES[name] for name in losses} == set(reference)
    for name, loss in losses.items():
        tolerance = 1e-3 if name == "loss_maskiou" else 1e-4
        assert loss.item() == pytest.approx(reference[LOSSES[name]], rel=tolerance), name
    sum(losses.values()).backward()
    parameters = dict(model.named_parameters())
    ours = []
    for name in golden_json(case)["grad_names"]:
        (renamed,) = convert_detectron2({name: torch.ones(1)}, same_rules=True).tensors
        ours.append(parameters[renamed].grad.double().norm().item())
    expected = golden_npz(case)["grad_norms"]
    atol = 1e-4 * float(np.median(expected))
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "px", "score", "share"), [("fast", 0.05, 5e-4, 1.0), ("bf16", 8.0, 0.2, 0.5)]
)
def test_other_ways_of_computing(mode, px, score, share, evaluate, tmp_path: Path):
    """Random weights enlarge rounding: in 16 bits boxes move by some px, and some are others."""
    runner = ModelRunner(make_model(LITE, tmp_path), device=torch.device("cpu"), mode=mode)
    images, _ = make_batch(LITE)
    with runner.evaluating() as detect:
        found = detect(images)
    for plain, other in zip(evaluate(LITE).detections, found, strict=True):
        best = plain[plain.scores > 0.3]
        distances = torch.cdist(best.bbox, other.bbox, p=float("inf"))
        distances[best.labels[:, None] != other.labels] = float("inf")
        nearest = distances.min(dim=1)
        is_near = nearest.values < px
        assert is_near.float().mean() >= share
        differences = (best.scores - other.scores[nearest.indices])[is_near].abs()
        assert differences.median() < score
