"""Single operations of YOLACT against the original's."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.data.transforms.floats import resize_bilinear
from maskrcnn_benchmark.modeling.dense.yolact.anchors import decode_boxes, encode_boxes
from maskrcnn_benchmark.modeling.dense.yolact.detections import WholePixelBoxes
from maskrcnn_benchmark.modeling.dense.yolact.loss import select_hard
from maskrcnn_benchmark.modeling.dense.yolact.matching import YolactMatcher
from maskrcnn_benchmark.modeling.dense.yolact.nms import NMS, NmsSettings
from maskrcnn_benchmark.solver import make_lr_scheduler
from maskrcnn_benchmark.structures.prototype_masks import crop_bounds
from tests.contract.source_tree import ROOT
from tests.golden_data import golden_npz

pytestmark = pytest.mark.golden


@pytest.fixture
def ops():
    found = golden_npz("yolact/ops_yolact")
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


def test_box_code(ops):
    boxes = decode_boxes(ops["box_code.loc"], ops["box_code.priors"])
    torch.testing.assert_close(boxes, ops["box_code.boxes"])
    codes = encode_boxes(boxes, ops["box_code.priors"])
    torch.testing.assert_close(codes, ops["box_code.codes"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NMS)
def test_nms(ops, name):
    settings = NmsSettings(score_threshold=0.05, iou_threshold=0.5, top_n=20, limit=100)
    boxes, probs = ops["nms.boxes"], ops["nms.scores"].T
    found = NMS[name](boxes, probs, (550, 550), settings)
    assert torch.equal(found.scores, ops[f"nms.{name}_scores"])
    assert torch.equal(found.labels - 1, ops[f"nms.{name}_classes"])
    torch.testing.assert_close(boxes[found.candidates], ops[f"nms.{name}_boxes"])


@pytest.mark.parametrize("case", ["match", "match_crowd"])
def test_matching(ops, case):
    matcher = YolactMatcher(positive_iou=0.5, negative_iou=0.4, crowd_share=0.7)
    priors, truths = ops[f"{case}.priors"], ops[f"{case}.truths"]
    crowds = ops.get(f"{case}.crowds", torch.zeros(0, 4))
    found = matcher(priors, truths, ops[f"{case}.labels"] + 1, crowds)
    assert torch.equal(found.labels, ops[f"{case}.conf"])
    assert torch.equal(found.objects, ops[f"{case}.idx"])
    codes = encode_boxes(truths[found.objects], priors)
    torch.testing.assert_close(codes, ops[f"{case}.loc"], rtol=1e-4, atol=1e-4)


def test_crop(ops):
    masks, boxes = ops["crop.masks"], ops["crop.boxes"]
    height, width, _ = masks.shape
    for mask, (x1, y1, x2, y2), expected in zip(
        masks.permute(2, 0, 1),
        crop_bounds(boxes, (height, width)).ceil().int().tolist(),
        ops["crop.cropped"].permute(2, 0, 1),
        strict=True,
    ):
        cropped = torch.zeros_like(mask)
        cropped[y1:y2, x1:x2] = mask[y1:y2, x1:x2]
        assert torch.equal(cropped, expected)


def test_boxes_in_pixels(ops):
    boxes, kept = ops["to_pixels.boxes"], ops["to_pixels.kept"].bool()
    found = WholePixelBoxes.of(boxes, (550, 550)).resize((640, 480))
    edges = found.bbox + torch.tensor([0, 0, 1, 1])
    assert torch.equal(edges, ops["to_pixels.pixels"][kept].float())


def test_true_masks(ops):
    for bitmap, resized in zip(
        ops["truth_masks.bitmaps"].numpy(), ops["truth_masks.resized"].numpy(), strict=True
    ):
        assert np.array_equal(resize_bilinear(bitmap.astype(np.uint8), (55, 55)), resized)


def test_hard_negatives(ops):
    logits, labels = ops["class_loss.logits"], ops["class_loss.targets"].long()
    chosen = select_hard(logits, labels, 3)
    loss = torch.nn.functional.cross_entropy(logits[chosen], labels[chosen], reduction="sum")
    torch.testing.assert_close(loss, ops["class_loss.loss"].to(loss))


def test_learning_rates(ops):
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "yolact" / "yolact_base.yaml")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.SOLVER.BASE_LR)
    scheduler = make_lr_scheduler(cfg, optimizer)
    for iteration, expected in zip(
        ops["learning_rate.iterations"].tolist(), ops["learning_rate.lr"].tolist(), strict=True
    ):
        scheduler.last_epoch = iteration
        (rate,) = scheduler.get_lr()
        assert rate == pytest.approx(expected, rel=1e-6)
