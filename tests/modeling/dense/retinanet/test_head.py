import pytest
import torch

from maskrcnn_benchmark.modeling.dense.retinanet.head import RetinaNetHead, RetinaNetHeadSettings


def make_head(**changes):
    options = {"in_channels": 8, "num_anchors": 9, "num_foreground": 5, "num_convs": 2} | changes
    return RetinaNetHead(RetinaNetHeadSettings(**options))


def test_shapes_on_every_level():
    logits, deltas = make_head()([torch.rand(2, 8, 4, 6), torch.rand(2, 8, 1, 1)])
    assert [tuple(level.shape) for level in logits] == [(2, 45, 4, 6), (2, 45, 1, 1)]
    assert [tuple(level.shape) for level in deltas] == [(2, 36, 4, 6), (2, 36, 1, 1)]


def test_names_in_the_state_dict():
    layers = ["cls_tower.0", "cls_tower.2", "bbox_tower.0", "bbox_tower.2", "cls_logits"]
    expected = [f"{name}.{part}" for name in [*layers, "bbox_pred"] for part in ("weight", "bias")]
    assert list(make_head().state_dict()) == expected


def test_every_class_starts_at_the_prior():
    head = make_head(prior_prob=0.2)
    logits, deltas = head([torch.zeros(1, 8, 1, 1)])
    assert logits[0].sigmoid().flatten().tolist() == pytest.approx([0.2] * 45)
    assert deltas[0].abs().max() == 0


def test_the_towers_are_separate():
    head = make_head()
    feature = torch.rand(1, 8, 3, 3)
    logits, deltas = head([feature])
    with torch.no_grad():
        head.cls_tower[0].weight += 1
    new_logits, new_deltas = head([feature])
    assert torch.equal(deltas[0], new_deltas[0])
    assert not torch.equal(logits[0], new_logits[0])
