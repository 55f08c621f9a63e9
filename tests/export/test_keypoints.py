"""Keypoints of the graph against ours."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.inference import heatmaps_to_keypoints

pytest.importorskip("onnxscript")

from maskrcnn_benchmark.export.keypoints import locate
from tests.export.sessions import run_graph

POINTS, SIDE = 3, 14


@pytest.fixture(scope="module")
def run():
    shapes = {
        "heatmaps": (np.float32, ("n", POINTS, SIDE, SIDE)),
        "corners": (np.float32, ("n", 4)),
    }
    return run_graph(shapes, lambda graph, maps, boxes: locate(graph, maps, boxes, (POINTS, SIDE)))


def draws(count):
    """Smooth maps, and boxes of every size: of less than a pixel, upright, flat, reversed."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(count, POINTS, 5, 5, generator=generator)
    maps = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    corners = 200 * torch.rand(count, 2, generator=generator) - 20
    sides = torch.tensor([0.3, 1.0, 3.7, 20.0, 90.5])[torch.arange(count) % 5]
    sides = sides[:, None] * (0.5 + torch.rand(count, 2, generator=generator))
    boxes = torch.cat([corners, corners + sides], dim=1)
    boxes[:2] = torch.tensor([[5.0, 5, 5, 5], [9, 9, 4, 2]])
    return maps, boxes


@pytest.mark.parametrize("count", [0, 1, 60])
def test_points_are_ours(run, count):
    maps, boxes = draws(max(count, 2))
    maps, boxes = maps[:count], boxes[:count]
    places, scores = run(maps.numpy(), boxes.numpy())
    assert places.shape == (count, POINTS, 2)
    assert scores.shape == (count, POINTS)
    expected = heatmaps_to_keypoints(maps, boxes) if count else None
    if expected is not None:
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(places, expected.points[..., :2], atol=1e-3)


def test_a_border_that_is_flat_is_found_at_its_first_pixel(run):
    maps = torch.zeros(1, POINTS, SIDE, SIDE)
    boxes = torch.tensor([[10.0, 20.0, 31.5, 50.25]])
    places, _ = run(maps.numpy(), boxes.numpy())
    expected = heatmaps_to_keypoints(maps, boxes).points[..., :2]
    np.testing.assert_allclose(places, expected, atol=1e-4)
