"""Suppression by the standard's operator, beside ours."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.layers import ml_nms
from maskrcnn_benchmark.modeling.postprocessing import keep_best
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.export.sessions import run_graph

selection = pytest.importorskip("maskrcnn_benchmark.export.selection")

NUM_LABELS = 3


def make_select(pixel_offset, threshold, most=0):
    """Candidates -> corners, scores and labels of what is left, without clipping."""
    limits = selection.Limits(threshold, most, 0.0, pixel_offset, clips=False)

    def build(graph, corners, scores, labels):
        side = graph.constant(0, np.int64)
        boxes = selection.Boxes(corners, scores, labels)
        return selection.select(graph, boxes, (side, side), limits, NUM_LABELS)

    inputs = {"corners": (np.float32, ("n", 4)), "scores": (np.float32, ("n",))}
    return run_graph(inputs | {"labels": (np.int64, ("n",))}, build)


def random_candidates(rng, *, step):
    """Few places and scores, so that many are equal, and many IoUs are simple fractions."""
    count = int(rng.integers(0, 40))
    corner = rng.integers(0, 4, (count, 2)) * step
    sides = rng.integers(2, 6, (count, 2)) * step
    corners = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    scores = (rng.integers(1, 12, count) / 16).astype(np.float32)
    return corners, scores, rng.integers(1, NUM_LABELS + 1, count)


def ours(corners, scores, labels, threshold, pixel_offset):
    """What our own suppression leaves, best first."""
    boxes, ranks = torch.from_numpy(corners), torch.from_numpy(scores)
    kept = ml_nms(boxes, ranks, torch.from_numpy(labels), threshold, pixel_offset)
    order = ranks[kept].argsort(descending=True, stable=True)
    kept = kept[order].numpy()
    return corners[kept], scores[kept], labels[kept]


@pytest.mark.parametrize("pixel_offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.5, 0.6])
@pytest.mark.parametrize("step", [1.0, 0.0625])
def test_the_same_boxes_are_kept_ties_included(pixel_offset, threshold, step):
    select = make_select(pixel_offset, threshold)
    rng = np.random.default_rng(0)
    dropped = 0
    for _ in range(1000):
        given = random_candidates(rng, step=step)
        expected = ours(*given, threshold, pixel_offset)
        found = select(*given)
        dropped += len(given[0]) - len(expected[0])
        for mine, theirs in zip(expected, found, strict=True):
            assert np.array_equal(mine, theirs)
    assert dropped > 1000


@pytest.mark.parametrize("pixel_offset", [0, 1])
def test_the_same_boxes_are_kept_of_those_anywhere(pixel_offset):
    # Rounding may decide where an IoU is within 1e-6 of the threshold; none is here.
    select = make_select(pixel_offset, 0.6)
    rng = np.random.default_rng(1)
    for _ in range(1000):
        count = int(rng.integers(1, 60))
        corner = rng.uniform(0, 300, (count, 2))
        corners = np.concatenate([corner, corner + rng.uniform(1, 200, (count, 2))], axis=1)
        scores = rng.uniform(0.01, 1, count).astype(np.float32)
        given = corners.astype(np.float32), scores, rng.integers(1, NUM_LABELS + 1, count)
        for mine, theirs in zip(ours(*given, 0.6, pixel_offset), select(*given), strict=True):
            assert np.array_equal(mine, theirs)


def test_the_limit_keeps_ties_at_the_cut_off():
    select = make_select(1, 0.5, most=5)
    rng = np.random.default_rng(2)
    for _ in range(100):
        corners, scores, labels = random_candidates(rng, step=1.0)
        kept = ours(corners, scores, labels, 0.5, 1)
        boxes = BoxList(torch.from_numpy(kept[0]), (100, 100))
        boxes.add_field("scores", torch.from_numpy(kept[1]))
        expected = keep_best(boxes, 5)
        found = select(corners, scores, labels)
        assert np.array_equal(found[0], expected.bbox.numpy())


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.5, 1.0])
def test_scores_above_a_threshold_are_found(threshold):
    def build(graph, logits):
        least = graph.constant(threshold, np.float32)
        return selection.scores_above(graph, logits, 4, least)

    logits = torch.randn(1, 8, 3, 5, generator=torch.Generator().manual_seed(0)) * 3
    scores, cells, points, labels = run_graph({"logits": (np.float32, (1, 8, "h", "w"))}, build)(
        logits.numpy()
    )
    probs = logits.sigmoid()[0].reshape(2, 4, 15)
    expected = {
        (int(cell), int(point), int(label) + 1)
        for point, label, cell in (probs > threshold).nonzero().tolist()
    }
    found = list(zip(cells.tolist(), points.tolist(), labels.tolist(), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected
    for score, cell, point, label in zip(scores, cells, points, labels, strict=True):
        assert score == pytest.approx(float(probs[point, label - 1, cell]), abs=1e-6)
