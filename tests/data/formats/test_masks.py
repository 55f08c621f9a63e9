import numpy as np
import pytest
from PIL import Image

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import recognise
from tests.data.formats import scenes
from tests.data.formats.scenes import ONE_CLASS, SIZES, found, read, write_photos


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_images_of_instance_numbers(tmp_path):
    """Penn-Fudan's layout; a value is an object, whatever it is."""
    write_photos(tmp_path / "PNGImages")
    both = scenes.mask("a.png", 7)
    both[8:10, 8:12] = 200
    save(tmp_path / "PedMasks" / "a_mask.png", both)
    save(tmp_path / "PedMasks" / "b_mask.png", scenes.mask("b.png").astype(np.uint16) * 300)
    data = recognise(tmp_path)
    assert data.format.name == "instance-images"
    assert found(read(data.parts["all"])) == {
        **ONE_CLASS,
        "a.png": [*ONE_CLASS["a.png"], ("object", (8, 8, 12, 10), 8)],
    }


def test_splits_and_a_photo_without_objects(tmp_path):
    for split in ("train", "val"):
        write_photos(tmp_path / split / "images")
        save(tmp_path / split / "masks" / "a.png", scenes.mask("a.png"))
    parts = recognise(tmp_path).parts
    assert set(parts) == {"train", "val"}
    assert found(read(parts["val"])) == {"a.png": ONE_CLASS["a.png"], "b.png": []}


def test_colours_are_objects_too(tmp_path):
    write_photos(tmp_path / "images", ["a.png"])
    colours = np.zeros((10, 12, 3), np.uint8)
    colours[1:5, 2:6] = (0, 0, 9)
    colours[6:8, 2:4] = (9, 0, 0)
    save(tmp_path / "masks" / "a.png", colours)
    areas = [area for *_, area in found(read(recognise(tmp_path).parts["all"]))["a.png"]]
    assert sorted(areas) == [4, 16]


def test_one_image_an_object(tmp_path):
    """Data Science Bowl's layout."""
    for name in SIZES:
        folder = tmp_path / name.removesuffix(".png")
        write_photos(folder / "images", [name])
        save(folder / "masks" / "f00.png", scenes.mask(name, 255))
    data = recognise(tmp_path)
    assert data.format.name == "object-images"
    seen = found(read(data.parts["all"]))
    assert {name.rsplit("/", 1)[1]: objects for name, objects in seen.items()} == ONE_CLASS


def test_masks_of_another_size_than_their_photo_are_named(tmp_path):
    write_photos(tmp_path / "images", ["a.png"])
    save(tmp_path / "masks" / "a.png", np.ones((3, 4), np.uint8))
    with pytest.raises(DatasetError, match=r"a\.png.*4 x 3.*12 x 10"):
        read(recognise(tmp_path).parts["all"])
