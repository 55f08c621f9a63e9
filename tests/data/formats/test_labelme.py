import base64
import io

import pytest
from PIL import Image

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import recognise
from tests.data.formats import scenes
from tests.data.formats.scenes import (
    CAT,
    DOG,
    SCENE,
    found,
    labelme_document,
    labelme_shape,
    points,
    read,
    write_json,
    write_labelme,
    write_photos,
)


def mask_of(name):
    """The mask of a photo's square, as LabelMe keeps it: cut to the box of its pixels."""
    x1, y1, x2, y2 = scenes.CORNERS[name][1]
    buffer = io.BytesIO()
    Image.fromarray(scenes.mask(name, 255)[y1:y2, x1:x2]).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return labelme_shape(scenes.CORNERS[name][0], "mask", [[x1, y1], [x2 - 1, y2 - 1]], mask=data)


def test_polygons_rectangles_and_what_is_no_object(tmp_path):
    point = labelme_shape("nose", "point", [[3, 3]])
    write_labelme(tmp_path, "a.png", labelme_shape("cat", "polygon", points(CAT)), point)
    write_labelme(tmp_path, "b.png", labelme_shape("dog", "rectangle", [[9, 7], [4, 3]]))
    data = recognise(tmp_path)
    dataset = read(data.parts["all"])
    assert data.format.name == "labelme"
    assert found(dataset) == SCENE
    assert dataset.categories == {1: "cat", 2: "dog"}


def test_masks(tmp_path):
    for name in scenes.SIZES:
        write_labelme(tmp_path, name, mask_of(name))
    assert found(read(recognise(tmp_path).parts["all"])) == SCENE


def test_shapes_of_one_group_are_one_object(tmp_path):
    halves = [[2, 1, 4, 5], [4, 1, 6, 5]]
    shapes = [labelme_shape("cat", "polygon", points(half), group_id=1) for half in halves]
    write_labelme(tmp_path, "a.png", *shapes)
    assert found(read(recognise(tmp_path).parts["all"])) == {"a.png": SCENE["a.png"]}


def test_a_circle_has_the_area_of_one(tmp_path):
    write_labelme(tmp_path, "a.png", labelme_shape("cat", "circle", [[5, 5], [9, 5]]))
    ((_, box, area),) = found(read(recognise(tmp_path).parts["all"]))["a.png"]
    assert box == (1, 1, 9, 9)
    assert abs(area - 50.3) < 4  # pi * 4^2, and a pixel's worth of edge


def test_splits_and_photos_elsewhere(tmp_path):
    write_labelme(tmp_path / "train", "a.png", labelme_shape("cat", "polygon", points(CAT)))
    folder = tmp_path / "val"
    write_photos(folder / "photos", ["b.png"])
    more = {"imagePath": "photos\\b.png", "imageWidth": None}
    write_json(
        folder / "b.json",
        labelme_document("b.png", labelme_shape("dog", "polygon", points(DOG))) | more,
    )
    parts = recognise(tmp_path).parts
    assert found(read(parts["train"])) == {"a.png": SCENE["a.png"]}
    assert found(read(parts["val"])) == {"photos/b.png": SCENE["b.png"]}


def test_a_missing_photo_and_a_broken_shape_are_named(tmp_path):
    write_json(
        tmp_path / "a.json", labelme_document("a.png", labelme_shape("cat", "polygon", points(CAT)))
    )
    with pytest.raises(DatasetError, match=r"a\.png"):
        read(recognise(tmp_path).parts["all"])
    write_labelme(tmp_path, "a.png", {"label": "cat"})
    with pytest.raises(DatasetError, match=r"a\.json"):
        read(recognise(tmp_path).parts["all"])
