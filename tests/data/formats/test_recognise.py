from collections import Counter

import pytest

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import FORMATS, TRAIN, VAL, part_of_content, recognise
from tests.data.formats.scenes import (
    CAT,
    coco_content,
    found,
    labelme_shape,
    points,
    read,
    write_json,
    write_labelme,
)


def test_nothing_known_is_answered_with_what_is(tmp_path):
    with pytest.raises(DatasetError, match="not_here"):
        recognise(tmp_path / "not_here")
    with pytest.raises(DatasetError) as caught:
        recognise(tmp_path)
    assert all(one.name in str(caught.value) for one in FORMATS)
    with pytest.raises(DatasetError, match="unknown format"):
        recognise(tmp_path, "coc0")


def test_of_two_formats_one_must_be_said(tmp_path):
    shape = labelme_shape("cat", "polygon", points(CAT))
    write_labelme(tmp_path, "a.png", shape)
    write_json(tmp_path / "annotations.json", coco_content(["a.png"]))
    with pytest.raises(DatasetError, match="coco, labelme"):
        recognise(tmp_path)
    for name in ("coco", "labelme"):
        data = recognise(tmp_path, name)
        assert data.format.name == name
        assert [label for label, *_ in found(read(data.parts["all"]))["a.png"]] == ["cat"]


def content(classes_of_images):
    """Images with objects of the given classes."""
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(len(classes_of_images))]
    annotations = [
        {"image_id": image, "category_id": category}
        for image, categories in enumerate(classes_of_images)
        for category in categories
    ]
    return {"images": images, "annotations": annotations, "categories": []}


def test_the_parts_are_disjoint_whole_and_always_the_same():
    whole = content([[i % 3] for i in range(50)])
    train, val = (part_of_content(whole, split) for split in (TRAIN, VAL))
    ids = [{image["id"] for image in part["images"]} for part in (train, val)]
    assert ids[0] | ids[1] == set(range(50))
    assert not ids[0] & ids[1]
    assert len(ids[1]) == 10
    assert all(one["image_id"] in ids[1] for one in val["annotations"])
    assert len(val["annotations"]) == 10
    # Neither the order nor the ids of the photos decide.
    turned = {**whole, "images": whole["images"][::-1]}
    names = {image["file_name"] for image in part_of_content(turned, VAL)["images"]}
    assert names == {image["file_name"] for image in val["images"]}
    other = {image["id"] for image in part_of_content(whole, VAL, seed=1)["images"]}
    assert other != ids[1]


def test_no_class_is_in_validation_alone():
    whole = content([[0], [0, 1], [2], [0], [0], [2]])
    train = part_of_content(whole, TRAIN)
    assert set(Counter(one["category_id"] for one in train["annotations"])) == {0, 1, 2}
    alone = content([[0], [1]])  # cannot be kept
    assert len(part_of_content(alone, VAL)["images"]) == 1


def test_one_photo_cannot_be_divided():
    with pytest.raises(DatasetError, match="two"):
        part_of_content(content([[0]]), TRAIN)
