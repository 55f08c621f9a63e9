import numpy as np
import pytest

from maskrcnn_benchmark.utils.colormap import COLORS, colormap, random_colors


def test_palette_colors_are_distinct_bytes():
    assert len(set(COLORS)) == len(COLORS) == 80
    assert all(0 <= channel <= 255 for color in COLORS for channel in color)


def test_neighbours_look_unlike_each_other():
    colors = np.array(COLORS, dtype=float)
    assert np.abs(colors[1:] - colors[:-1]).sum(axis=1).min() > 100


def test_colormap_orders_and_scales_the_palette():
    rgb = colormap(rgb=True)
    assert rgb.dtype == np.float32
    np.testing.assert_array_equal(rgb, np.array(COLORS))
    np.testing.assert_array_equal(colormap(), rgb[:, ::-1])
    np.testing.assert_allclose(colormap(rgb=True, maximum=1), rgb / 255, rtol=1e-6)
    with pytest.raises(ValueError, match="got 2"):
        colormap(maximum=2)


def test_random_colors():
    colors = random_colors(7, seed=1)
    assert len(set(colors)) == 7
    assert colors == random_colors(7, seed=1)
    assert sorted(colors) == sorted(random_colors(7, seed=2))
    assert max(max(color) for color in colors) == 1.0
    assert max(max(color) for color in random_colors(7, bright=False)) == pytest.approx(0.7)
    assert random_colors(0) == []
