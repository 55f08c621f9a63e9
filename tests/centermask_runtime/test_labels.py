import numpy as np
import pytest
from PIL import Image, ImageDraw

from centermask_runtime.labels import (
    Chip,
    Rectangle,
    draw_chips,
    text_size_wh,
)
from centermask_runtime.palette import PALETTE
from maskrcnn_benchmark.visualization.fonts import load_font

SIZE_WH = (300, 200)


def place(boxes, text="person 0.97", font_size=16, size_wh=SIZE_WH):
    canvas = Image.new("RGB", size_wh)
    chips = [Chip(text, PALETTE[0], Rectangle(*box)) for box in boxes]
    return draw_chips(ImageDraw.Draw(canvas), chips, font_size, size_wh), canvas


def overlap(first, second):
    width = min(first.x2, second.x2) - max(first.x1, second.x1)
    height = min(first.y2, second.y2) - max(first.y1, second.y1)
    return max(0, width) * max(0, height)


def test_a_chip_sits_on_top_of_its_box():
    (placed,), _ = place([(50, 80, 200, 180)])
    assert placed.x1 == 50
    assert placed.y2 == pytest.approx(80)


def test_a_chip_at_the_upper_border_moves_into_the_picture():
    (placed,), _ = place([(50, 2, 200, 180)])
    assert placed.y1 == 0


def test_chips_stay_inside_the_canvas():
    boxes = [(-40, -30, 10, 10), (280, 190, 340, 260), (100, 100, 290, 199)]
    placed, _ = place(boxes)
    for one in placed:
        assert one.x1 >= 0
        assert one.y1 >= 0
        assert one.x2 <= SIZE_WH[0]
        assert one.y2 <= SIZE_WH[1]


def test_chips_of_equal_boxes_do_not_cover_each_other():
    placed, _ = place([(100, 80, 220, 150)] * 4)
    assert len(placed) == 4
    for index, first in enumerate(placed):
        for second in placed[:index]:
            assert not overlap(first, second)


def test_chips_without_room_are_left_out_the_first_ones_stay():
    placed, _ = place([(100, 80, 130, 95)] * 50)
    assert 1 <= len(placed) < 50


def test_small_boxes_get_smaller_names():
    (large,), _ = place([(20, 60, 280, 190)])
    (small,), _ = place([(20, 60, 50, 80)])
    assert small.y2 - small.y1 < large.y2 - large.y1


def test_text_is_inside_its_chip():
    (placed,), canvas = place([(50, 80, 200, 180)])
    pixels = np.asarray(canvas).astype(int)
    is_text = np.abs(pixels - pixels.max(axis=(0, 1))).sum(axis=2) == 0
    rows, columns = np.nonzero(is_text)
    assert rows.size
    assert placed.x1 < columns.min()
    assert columns.max() < placed.x2
    assert placed.y1 <= rows.min()
    assert rows.max() <= placed.y2


def test_names_wider_than_the_picture_are_cut():
    (placed,), _ = place([(50, 80, 200, 180)], text="a very long name of a class " * 5)
    assert placed.x1 >= 0
    assert placed.x2 <= SIZE_WH[0]


def test_nothing_to_draw():
    placed, canvas = place([])
    assert placed == []
    assert not np.asarray(canvas).any()


def test_height_of_a_line_does_not_depend_on_its_letters():
    font = load_font(20)
    assert text_size_wh("ace", font)[1] == text_size_wh("Ágy", font)[1]
