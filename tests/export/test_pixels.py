"""The photo as the network sees it, byte by byte as Pillow and our transforms make it."""

import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.data.transforms.build import SIDE_RULES
from tests.export.sessions import run_graph

pixels = pytest.importorskip("maskrcnn_benchmark.export.pixels")

SIZES_HW = [
    (48, 64),
    (64, 48),
    (300, 400),
    (133, 50),
    (5, 4),
    (1, 7),
    (7, 1),
    (80, 120),
    (60, 80),
    (900, 33),
]


@pytest.fixture(scope="module", params=[False, True], ids=["integers", "floats"])
def resample(request):
    def build(graph, image, height, width):
        before = image.size(0), image.size(1)
        return [pixels.resample(graph, image, before, (height, width))]

    side = (np.int64, ())
    return run_graph(
        {"image": (np.uint8, ("h", "w", 3)), "height": side, "width": side},
        build,
        narrow=request.param,
    )


@pytest.mark.parametrize("hw", SIZES_HW)
@pytest.mark.parametrize("new_hw", [(60, 80), (37, 91), (100, 75)])
def test_photos_are_resized_as_pillow_does_in_width_and_then_in_height(resample, hw, new_hw):
    photo = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    wide = Image.fromarray(photo).resize((new_hw[1], hw[0]), Image.Resampling.BILINEAR)
    expected = np.asarray(wide.resize(new_hw[::-1], Image.Resampling.BILINEAR))
    (found,) = resample(photo, *(np.array(side) for side in new_hw))
    assert np.array_equal(found.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("rule", SIDE_RULES)
def test_sides_are_rounded_by_the_rule(rule):
    side = (np.int64, ())
    run = run_graph(
        {"height": side, "width": side},
        lambda _graph, height, width: pixels.resized_sides((height, width), 600, 1000, rule),
    )
    rng = np.random.default_rng(0)
    sides = [*rng.integers(1, 4000, (500, 2)).tolist(), [600, 600], [600, 1000], [1, 4000], [1, 1]]
    for height, width in sides:
        found = tuple(int(side) for side in run(np.array(height), np.array(width)))
        assert found == SIDE_RULES[rule]((width, height), 600, 1000), (height, width)
