from itertools import combinations

import pytest

from maskrcnn_benchmark.visualization.palette import (
    PALETTE,
    Colour,
    instance_colour,
    instance_colours,
    text_colour,
)


def test_instances_of_a_class_use_the_whole_palette_before_they_repeat():
    colours = instance_colours([3] * len(PALETTE))
    assert set(colours) == set(PALETTE)


def test_first_instances_of_neighbouring_classes_differ():
    assert len(set(instance_colours(list(range(1, len(PALETTE) + 1))))) == len(PALETTE)


def test_a_colour_depends_on_class_and_ordinal_only():
    assert instance_colours([5, 2, 5, 5])[3] == instance_colour(5, 2)


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
