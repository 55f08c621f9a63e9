import random

import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.data.transforms import RandomColors
from tests.factories import random_boxlist


def photo(*colours):
    """One pixel of each colour, in a row."""
    return Image.fromarray(np.array([colours], dtype=np.uint8))


class Largest(random.Random):
    """Draws the upper end."""

    def uniform(self, a, b):
        return b


def changed(image, **strengths):
    return np.asarray(RandomColors(**strengths)(image, None, Largest())[0])[0].tolist()


def test_each_change_by_hand():
    image = photo((100, 50, 0), (20, 20, 20))
    assert changed(image, brightness=0.5) == [[150, 75, 0], [30, 30, 30]]
    # The mean grey is that of luma 59 (0.299 R + 0.587 G + 0.114 B) and 20: 40.
    assert changed(image, contrast=1.0) == [[160, 60, 0], [0, 0, 0]]
    # Twice as far from the pixel's own luma.
    assert changed(image, saturation=1.0) == [[141, 41, 0], [20, 20, 20]]
    # A third of the circle takes red to green; greys have no hue.
    (red, grey) = changed(photo((200, 0, 0), (90, 90, 90)), hue=1 / 3)
    assert np.abs(np.array(red) - [0, 200, 0]).max() <= 3
    assert grey == [90, 90, 90]


def test_hues_go_round_in_a_circle():
    (violet,) = changed(photo((200, 0, 200)), hue=0.5)
    assert np.abs(np.array(violet) - [0, 200, 0]).max() <= 5


def test_draws_lie_within_the_strengths_and_can_be_repeated():
    image, transform = photo((100, 100, 100)), RandomColors(brightness=0.3)
    values = [
        transform(image, None, random.Random(seed))[0].getpixel((0, 0))[0] for seed in range(99)
    ]
    assert 69 <= min(values) < 80 < 120 < max(values) <= 130
    again = [
        transform(image, None, random.Random(seed))[0].getpixel((0, 0))[0] for seed in range(99)
    ]
    assert again == values


def test_the_target_stays_and_the_image_is_not_changed_in_place():
    image, target = photo((100, 50, 0)), random_boxlist(3)
    _, after = RandomColors(brightness=0.5, hue=0.1)(image, target, Largest())
    assert after is target
    assert image.getpixel((0, 0)) == (100, 50, 0)


def test_strengths_that_make_no_sense():
    for wrong in ({"brightness": -0.1}, {"hue": 0.6}):
        with pytest.raises(ValueError, match="hue in"):
            RandomColors(**wrong)
