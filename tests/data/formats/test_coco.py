import pytest

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import recognise
from tests.data.formats.scenes import (
    SCENE,
    coco_content,
    found,
    read,
    write_json,
    write_photos,
)


@pytest.mark.parametrize(
    ("file", "photos", "prefix"),
    [
        ("annotations.json", ".", ""),
        ("annotations.json", "images", ""),
        ("annotations/instances_default.json", "images", ""),
        ("annotations/instances_default.json", "images/default", ""),
        ("result.json", "images", "images/"),  # Label Studio
        ("result.json", "images", "C:\\label studio\\media\\"),
        ("annotations.json", "JPEGImages", "JPEGImages/"),  # labelme2coco
    ],
)
def test_photos_are_found_where_tools_put_them(tmp_path, file, photos, prefix):
    write_photos(tmp_path / photos)
    write_json(tmp_path / file, coco_content(prefix=prefix))
    data = recognise(tmp_path)
    assert (data.format.name, list(data.parts)) == ("coco", ["all"])
    seen = found(read(data.parts["all"]))
    assert {name.rsplit("/", 1)[-1]: objects for name, objects in seen.items()} == SCENE


def test_a_file_alone_is_enough(tmp_path):
    write_photos(tmp_path / "images")
    file = write_json(tmp_path / "labels.json", coco_content())
    assert found(read(recognise(file).parts["all"])) == SCENE


def test_roboflow_splits_without_the_category_that_only_groups_the_others(tmp_path):
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    for split, name in (("train", "a.png"), ("valid", "b.png")):
        write_photos(tmp_path / split, [name])
        write_json(tmp_path / split / "_annotations.coco.json", coco_content([name], categories))
    parts = recognise(tmp_path).parts
    assert set(parts) == {"train", "val"}
    for split, name in (("train", "a.png"), ("val", "b.png")):
        dataset = read(parts[split])
        assert found(dataset) == {name: SCENE[name]}
        assert dataset.contiguous_category_id_to_json_id == {1: 1, 2: 2}


def test_a_category_0_that_is_used_stays(tmp_path):
    categories = [
        {"id": 0, "name": "cat", "supercategory": "none"},
        {"id": 1, "name": "dog", "supercategory": "cat"},
    ]
    write_photos(tmp_path)
    write_json(tmp_path / "a.json", coco_content(categories=categories))
    dataset = read(recognise(tmp_path).parts["all"])
    assert found(dataset) == SCENE
    assert dataset.contiguous_category_id_to_json_id == {1: 0, 2: 1}


def test_coco_layout_takes_instances_and_photos_of_the_same_split(tmp_path):
    for split, names in (("train", ["a.png"]), ("val", ["a.png", "b.png"])):
        write_photos(tmp_path / f"{split}2017", names)
        file = tmp_path / "annotations" / f"instances_{split}2017.json"
        write_json(file, coco_content(names))
        write_json(file.with_name(f"person_keypoints_{split}2017.json"), coco_content(names))
    parts = recognise(tmp_path).parts
    assert parts["train"].images == tmp_path / "train2017"
    assert parts["val"].images == tmp_path / "val2017"
    assert found(read(parts["val"])) == SCENE


def test_two_files_of_one_part_are_not_guessed_between(tmp_path):
    write_photos(tmp_path)
    for name in ("one.json", "two.json"):
        write_json(tmp_path / name, coco_content())
    with pytest.raises(DatasetError, match=r"one\.json.*two\.json"):
        recognise(tmp_path)


def test_photos_that_are_nowhere_are_named(tmp_path):
    write_json(tmp_path / "annotations.json", coco_content())
    with pytest.raises(DatasetError, match=r"a\.png"):
        recognise(tmp_path)
