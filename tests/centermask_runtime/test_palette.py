from itertools import combinations

import pytest

from centermask_runtime.palette import (
    PALETTE,
    Colour,
    class_colour,
    text_colour,
)


def test_classes_have_colours_of_their_own():
    assert len({class_colour(label) for label in range(1, 91)}) == 90
    assert {class_colour(label) for label in range(1, len(PALETTE) + 1)} == set(PALETTE)


def test_no_two_colours_are_alike():
    for first, second in combinations(PALETTE, 2):
        assert sum(abs(a - b) for a, b in zip(first, second, strict=True)) > 60


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        (Colour(255, 255, 255), Colour(17, 17, 17)),
        (Colour(255, 200, 40), Colour(17, 17, 17)),
        (Colour(0, 0, 0), Colour(255, 255, 255)),
        (Colour(46, 134, 255), Colour(255, 255, 255)),
    ],
)
def test_text_is_dark_on_light_and_light_on_dark(background, expected):
    assert text_colour(background) == expected
