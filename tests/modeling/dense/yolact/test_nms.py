import pytest
import torch

from maskrcnn_benchmark.modeling.dense.overlaps import pairwise_iou
from maskrcnn_benchmark.modeling.dense.yolact import nms as rules
from maskrcnn_benchmark.modeling.dense.yolact.nms import NMS, NmsSettings

SETTINGS = NmsSettings(score_threshold=0.05, iou_threshold=0.5, top_n=200, limit=100)


def row(*starts, length=0.1):
    """Boxes of one row by their left edges."""
    return torch.tensor([[start, 0, start + length, 0.1] for start in starts])


def test_suppressed_boxes_suppress():
    """A chain: 1 overlaps 0, 2 overlaps 1 but not 0. Greedy NMS keeps 2, Fast NMS does not."""
    boxes, probs = row(0.0, 0.03, 0.06), torch.tensor([[0.9], [0.8], [0.7]])
    assert NMS["fast"](boxes, probs, (100, 100), SETTINGS).candidates.tolist() == [0]
    assert NMS["traditional"](boxes, probs, (1000, 1000), SETTINGS).candidates.tolist() == [0, 2]


def test_classes_do_not_suppress_each_other_but_for_cross_class():
    boxes, probs = row(0.0, 0.01), torch.tensor([[0.9, 0.1], [0.2, 0.6]])
    found = NMS["fast"](boxes, probs, (100, 100), SETTINGS)
    assert found.candidates.tolist() == [0, 1]
    assert found.labels.tolist() == [1, 2]
    assert NMS["cross_class"](boxes, probs, (100, 100), SETTINGS).candidates.tolist() == [0]


def test_the_threshold_of_iou_itself_stays_in_fast_nms_and_goes_in_the_traditional():
    # In whole pixels [0, 3] and [1, 5]: inclusive, 3 shared of 6.
    boxes = torch.tensor([[0.0, 0, 3, 0], [1, 0, 5, 0]]) / 10
    probs = torch.tensor([[0.9], [0.8]])
    assert len(NMS["traditional"](boxes, probs, (10, 10), SETTINGS).candidates) == 1
    boxes = torch.tensor([[0.0, 0, 0.5, 0.5], [0, 0, 0.25, 0.5]])
    assert len(NMS["fast"](boxes, probs, (10, 10), SETTINGS).candidates) == 2


def test_improbable_classes_of_a_candidate_are_detections():
    """upstream: no-second-threshold"""
    found = NMS["fast"](row(0.0), torch.tensor([[0.9, 0.001, 0.0]]), (10, 10), SETTINGS)
    assert found.labels.tolist() == [1, 2, 3]
    assert (
        len(NMS["traditional"](row(0.0), torch.tensor([[0.9, 0.01]]), (9, 9), SETTINGS).labels) == 1
    )


def test_boxes_without_area_suppress_each_other():
    boxes = torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.8, 0.8, 0.8, 0.9]])
    found = NMS["fast"](boxes, torch.tensor([[0.3], [0.4]]), (10, 10), SETTINGS)
    assert found.candidates.tolist() == [1]


def restated(boxes, probs, top_n, limit):
    """Class by class, box by box."""
    found = []
    for label in range(probs.shape[1]):
        order = sorted(range(len(boxes)), key=lambda i, label=label: -probs[i, label].item())
        for rank, candidate in enumerate(order[:top_n]):
            ious = pairwise_iou(boxes[candidate][None], boxes[order[:rank]])[0]
            if (ious <= 0.5).all():
                found.append((probs[candidate, label].item(), candidate, label + 1))
    return sorted(found, reverse=True)[:limit]


@pytest.mark.parametrize("max_pairs", [40, 2**17])
@pytest.mark.parametrize(("top_n", "limit"), [(200, 30), (7, 10), (12, 0)])
def test_fast_nms_against_loops(monkeypatch, max_pairs, top_n, limit):
    monkeypatch.setattr(rules, "_MAX_PAIRS", max_pairs)
    corners = torch.rand(40, 2, 2)
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    probs = torch.rand(40, 6)
    settings = NmsSettings(0.05, 0.5, top_n, limit)
    found = NMS["fast"](boxes, probs, (10, 10), settings)
    expected = restated(boxes, probs, top_n, limit or None)
    columns = (found.scores.tolist(), found.candidates.tolist(), found.labels.tolist())
    assert list(zip(*columns, strict=True)) == expected


@pytest.mark.parametrize("name", NMS)
def test_no_candidates(name):
    found = NMS[name](torch.zeros(0, 4), torch.zeros(0, 3), (10, 10), SETTINGS)
    assert [len(x) for x in found] == [0, 0, 0]
