import logging

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.classes import with_own_classes
from maskrcnn_benchmark.weights.description import Category

THEIRS = ["cat", "dog", "person"]
OURS = ["person", "sheep", "cat", "cow"]


def rows(first, count, width=2):
    """(count, width), each row its own number from ``first``."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].repeat(1, width)


def check(name, given, own, expected, other=()):
    """The first column of a layer that is mapped from THEIRS to OURS."""
    model = {name: own, **dict.fromkeys(other, torch.zeros(1))}
    before = own.clone()
    made = with_own_classes({name: given}, model, THEIRS, OURS)[name]
    assert made[:, 0].tolist() == expected
    torch.testing.assert_close(own, before)


def test_a_row_a_class():
    """person is the file's third class and the model's first, cat the first and the third."""
    name = "rpn.head.cls_logits.weight"
    check(name, rows(0, 3), rows(100, 4), [2, 101, 0, 103])


def test_background_comes_first_where_there_is_one():
    for name in ("roi_heads.mask.predictor.mask_fcn_logits.weight", "x.maskiou.weight"):
        check(name, rows(0, 4), rows(100, 5), [0, 3, 102, 1, 104])


def test_anchors_lie_apart_and_boxes_together():
    anchors = [2, 101, 0, 103, 5, 105, 3, 107]
    check("rpn.head.cls_logits.weight", rows(0, 6), rows(100, 8), anchors)
    name = "roi_heads.box.predictor.bbox_pred.weight"
    boxes = [*range(4), *range(12, 16), *range(108, 112), *range(4, 8), *range(116, 120)]
    check(name, rows(0, 16), rows(100, 20), boxes)


def test_proposals_know_no_classes():
    other = ["roi_heads.box.predictor.cls_score.weight"]
    check("rpn.head.cls_logits.weight", rows(0, 3), rows(100, 4), [0, 1, 2], other)


def test_other_layers_and_biases():
    given = {"rpn.head.cls_logits.bias": torch.tensor([1.0, 2.0, 3.0]), "fc.weight": rows(0, 3)}
    model = {"rpn.head.cls_logits.bias": torch.zeros(4), "fc.weight": rows(100, 4)}
    made = with_own_classes(given, model, THEIRS, OURS)
    assert made["rpn.head.cls_logits.bias"].tolist() == [3, 0, 1, 0]
    assert made["fc.weight"] is given["fc.weight"]


def test_one_class_for_another():
    """With a background, two rows; not one class of two."""
    name = "roi_heads.mask.predictor.mask_fcn_logits.weight"
    made = with_own_classes({name: rows(0, 2)}, {name: rows(100, 2)}, ["cat"], ["dog"])[name]
    assert made[:, 0].tolist() == [0, 101]


@pytest.mark.parametrize("ours", [["sheep"], ["dog", "cat", "person"]])
def test_no_class_shared_and_all_in_another_order(ours):
    name = "rpn.head.cls_logits.weight"
    made = with_own_classes({name: rows(0, 3)}, {name: rows(100, len(ours))}, THEIRS, ours)[name]
    assert made[:, 0].tolist() == {1: [100], 3: [1, 0, 2]}[len(ours)]


class Head(nn.Module):
    """A model with a class layer alone."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.ModuleDict({"cls_logits": nn.Linear(2, num_classes)})


def checkpointer(model, names, folder):
    categories = [Category(7 * place, name) for place, name in enumerate(names)]
    model = nn.ModuleDict({"rpn": model})
    return DetectronCheckpointer(
        get_default_config(), model, save_dir=folder, categories=categories
    )


def test_a_training_starts_from_weights_of_other_classes(tmp_path, caplog):
    theirs, ours = Head(3), Head(4)
    checkpointer(theirs, THEIRS, tmp_path / "theirs").save("model", iteration=9)
    new = ours.head["cls_logits"].weight.detach().clone()
    with caplog.at_level(logging.INFO):
        entries = checkpointer(ours, OURS, tmp_path / "ours").load(tmp_path / "theirs/model.pth")
    assert entries == {}  # not the iteration of another training
    weight, source = ours.head["cls_logits"].weight, theirs.head["cls_logits"].weight
    torch.testing.assert_close(weight[[0, 2]], source[[2, 0]])
    torch.testing.assert_close(weight[[1, 3]], new[[1, 3]])
    assert "sheep" in caplog.text
    assert "dog" in caplog.text


def test_anchors_with_a_background_each():
    """YOLACT's layers: classes with background, regions without."""
    anchors = [0, 3, 102, 1, 104, 4, 7, 107, 5, 109]
    check("rpn.head.conf_pred.weight", rows(0, 8), rows(100, 10), anchors)
    for name in ("rpn.head.semantic.weight", "rpn.select_test.maskiou_net.maskiou_pred.weight"):
        check(name, rows(0, 3), rows(100, 4), [2, 101, 0, 103])
