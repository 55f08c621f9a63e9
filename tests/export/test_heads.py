"""Pooling by the standard's operator, beside ours."""

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.modeling.poolers import LevelMapper, LevelMapperwithArea, Pooler
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.export.sessions import run_graph

heads = pytest.importorskip("maskrcnn_benchmark.export.heads")

SCALES = (1 / 8, 1 / 16, 1 / 32)
WIDTH, HEIGHT = 512, 256
MAPPERS = {"size": LevelMapper(3, 5), "share": LevelMapperwithArea(3, 5)}


def random_boxes(count):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * 400 - 20
    sides = torch.rand(count, 2, generator=generator) ** 3 * 500
    boxes = torch.cat([corner, corner + sides], dim=1)
    # Shares of the image that are powers of two to the last bit, and no extent at all.
    exact = torch.tensor([[0.0, 0, 255, 255], [0, 0, 127, 127], [0, 0, 63, 63], [5, 5, 4, 4]])
    return torch.cat([boxes, exact])[:count]


@pytest.mark.parametrize("mapper", MAPPERS)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_boxes_are_pooled_from_their_levels(mapper, aligned, sampling_ratio):
    pooler = Pooler((7, 7), SCALES, sampling_ratio, MAPPERS[mapper], aligned=aligned)
    offset = 0 if aligned else 1

    def build(graph, first, second, third, corners):
        sides = (graph.constant(side, np.int64) for side in (HEIGHT, WIDTH))
        frame = heads.Frame(*sides, offset)
        return [heads.pool(graph, pooler, (first, second, third), corners, frame)]

    inputs = {f"map{level}": (np.float32, (1, 4, None, None)) for level in range(3)}
    run = run_graph(inputs | {"corners": (np.float32, ("n", 4))}, build)
    generator = torch.Generator().manual_seed(1)
    maps = [
        torch.randn(1, 4, int(HEIGHT * scale), int(WIDTH * scale), generator=generator)
        for scale in SCALES
    ]
    for count in (60, 1, 0):
        boxes = BoxList(random_boxes(count), (WIDTH, HEIGHT), pixel_offset=offset)
        expected = pooler(maps, [boxes]).numpy()
        (found,) = run(*(one.numpy() for one in maps), boxes.bbox.numpy())
        assert found.shape == expected.shape
        assert np.abs(found - expected).max(initial=0) < 2e-5
