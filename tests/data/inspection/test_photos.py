"""Copies of photos are found, in whatever size and quality; other photos are none."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from maskrcnn_benchmark.data.inspection.photos import Signature, find_copies
from tests.golden_data import GOLDEN_DIR

PHOTOS = sorted((GOLDEN_DIR.parents[1] / "datasets" / "quickstart" / "val").glob("*.jpg"))[:12]


@pytest.fixture(scope="module")
def photos():
    return [Image.open(path).convert("RGB") for path in PHOTOS]


def test_different_photos_are_not_taken_for_copies(photos):
    assert find_copies([Signature.of(photo) for photo in photos]) == []


@pytest.mark.parametrize("change", ["quality", "size", "same"])
def test_copies(photos, change, tmp_path):
    copies = []
    for number, photo in enumerate(photos):
        copy = photo.resize((photo.width // 2, photo.height // 2)) if change == "size" else photo
        path = tmp_path / f"{number}.jpg"
        copy.save(path, quality=40 if change == "quality" else 90)
        copies.append(Image.open(path))
    signatures = [Signature.of(photo) for photo in (*photos, *copies)]
    count = len(photos)
    assert sorted(find_copies(signatures)) == [(i, count + i) for i in range(count)]


def test_another_object_on_the_same_background_is_another_photo():
    signatures = []
    for x in (10, 40, 70):
        image = Image.new("RGB", (128, 96), (90, 120, 90))
        image.paste("red", (x, 20, x + 24, 44))
        signatures.append(Signature.of(image))
    assert find_copies(signatures) == []


def test_another_light_is_another_photo(photos):
    brighter = ImageEnhance.Brightness(photos[0]).enhance(1.3)
    assert find_copies([Signature.of(photos[0]), Signature.of(brighter)]) == []


def test_copies_of_copies_are_told_with_the_first(photos):
    signature = Signature.of(photos[0])
    other = Signature.of(photos[1])
    assert find_copies([signature, other, signature, signature]) == [(0, 2), (0, 3)]
    assert find_copies([]) == []
    assert np.unpackbits(signature.bits).shape == (480,)
