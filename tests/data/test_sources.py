from pathlib import Path

import pytest

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data import make_datasets
from maskrcnn_benchmark.data.build import make_training_data
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.datasets.readers import ContentReader
from maskrcnn_benchmark.data.entries import make_known_categories
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.sources import Source, catalog_entry, full_name
from tests.data.formats.scenes import coco_content, write_json, write_photos

NAMES = ("a.png", "b.png")


def names_of(entry):
    """The photos of a catalog entry."""
    arguments = entry["args"]
    content = arguments["reader"](arguments["ann_file"], arguments["root"])
    dataset = COCODataset.from_content(content, arguments["root"])
    return {dataset.get_img_info(index)["file_name"] for index in range(len(dataset))}


def whole(folder):
    write_photos(folder / "images")
    write_json(folder / "labels.json", coco_content())
    return str(folder)


def in_splits(folder, *splits):
    for split, name in zip(splits, NAMES, strict=False):
        write_photos(folder / split, [name])
        write_json(folder / split / "_annotations.coco.json", coco_content([name]))
    return str(folder)


def photos(name, others=(), **options):
    return names_of(catalog_entry(name, others, **options))


def test_names_are_taken_apart(tmp_path):
    (tmp_path / "a@b#c").mkdir()
    (tmp_path / "labels.json").touch()
    base = str(tmp_path)
    assert Source.parse("coco_2017_train") is None
    assert Source.parse(base) == Source(tmp_path, None, "")
    assert Source.parse(f"{base}#val") == Source(tmp_path, None, "val")
    assert Source.parse(f"{base}/a@b#c") == Source(tmp_path / "a@b#c", None, "")
    assert Source.parse(f"{base}/labels.json@my/photos#test") == Source(
        tmp_path / "labels.json", Path("my/photos"), "test"
    )


def test_parts_follow_the_use(tmp_path):
    name = in_splits(tmp_path, "train", "valid")
    assert photos(name, [name], is_train=True) == {"a.png"}
    assert photos(name, [name], is_train=False) == {"b.png"}
    assert photos(f"{name}#train", [name], is_train=False) == {"a.png"}


def test_data_in_one_part_are_divided_only_if_both_uses_name_them(tmp_path):
    name = whole(tmp_path)
    assert photos(name, [], is_train=True) == set(NAMES)
    assert photos(name, [], is_train=False) == set(NAMES)
    train = photos(name, [name], is_train=True)
    val = photos(name, [name], is_train=False)
    assert len(train) == len(val) == 1
    assert train | val == set(NAMES)
    assert photos(f"{name}#val", [], is_train=False) == val
    assert photos(f"{name}#all", [name], is_train=True) == set(NAMES)


def test_a_test_part_is_not_for_choosing_models(tmp_path):
    """With training and test parts alone, validation photos come from the training part."""
    for split, names in (("train", NAMES), ("test", NAMES[:1])):
        write_photos(tmp_path / split, names)
        write_json(tmp_path / split / "_annotations.coco.json", coco_content(names))
    name = str(tmp_path)
    train = photos(name, [name], is_train=True)
    assert train | photos(name, [name], is_train=False) == set(NAMES)
    assert photos(name, [], is_train=False) == {"a.png"}


def test_annotations_and_photos_in_places_of_their_own(tmp_path):
    whole(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    name = f"{tmp_path}/labels.json@{tmp_path}/elsewhere"
    assert photos(name, is_train=False) == set(NAMES)
    with pytest.raises(DatasetError, match="nowhere"):
        catalog_entry(f"{tmp_path}/labels.json@nowhere", [], is_train=True)


def test_a_file_of_another_tool_with_its_photos_elsewhere(tmp_path):
    write_photos(tmp_path / "photos", ["a.png"])
    shape = {"name": "rect", "x": 2, "y": 1, "width": 4, "height": 4}
    region = {"shape_attributes": shape, "region_attributes": {"class": "cat"}}
    entry = {"filename": "a.png", "size": 1, "regions": [region], "file_attributes": {}}
    file = write_json(tmp_path / "via.json", {"a": entry})
    assert photos(f"{file}@{tmp_path}/photos", is_train=True) == {"a.png"}


def test_parts_may_be_called_as_their_folders_are(tmp_path):
    name = in_splits(tmp_path, "train", "valid")
    for word in ("val", "valid", "validation"):
        assert photos(f"{name}#{word}", is_train=False) == {"b.png"}
    with pytest.raises(DatasetError, match=r"'tst'.* train, val, test, all"):
        catalog_entry(f"{name}#tst", [], is_train=False)


@pytest.mark.parametrize(("part", "is_train"), [("", True), ("#train", True), ("#all", False)])
def test_missing_parts_are_named(tmp_path, part, is_train):
    name = in_splits(tmp_path, "val", "test")
    with pytest.raises(DatasetError, match="test, val"):
        catalog_entry(name + part, [], is_train=is_train)


def test_paths_work_as_names_of_data_sets(tmp_path):
    cfg = get_default_config()
    cfg.MODEL.NUM_CLASSES = cfg.MODEL.FCOS.NUM_CLASSES = 3
    cfg.MODEL.MASK_ON = True
    name = whole(tmp_path)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), (name,)
    datasets = make_datasets(cfg)
    (train,), (test,) = datasets
    shown = [one.get_img_info(0)["file_name"] for one in (train, test)]
    assert sorted(shown) == ["a.png", "b.png"]
    assert train.categories == test.categories == {1: "cat", 2: "dog"}
    assert make_known_categories(cfg, name) == train.categories


def test_a_name_that_is_neither_known_nor_a_path(tmp_path):
    cfg = get_default_config()
    cfg.DATASETS.TRAIN = (str(tmp_path / "nothing"),)
    with pytest.raises(ConfigError, match="nothing"):
        make_datasets(cfg)


def test_the_same_data_by_other_paths(tmp_path, monkeypatch):
    """Bug: photos that a model was trained on were in its test, if it had their path otherwise."""
    name = whole(tmp_path / "photos")
    (tmp_path / "link").symlink_to(name)
    monkeypatch.chdir(tmp_path)
    val = photos("photos", ["photos"], is_train=False)
    assert len(val) == 1
    for other in (name, "./photos/", "link", f"{tmp_path}/photos/../photos"):
        assert photos(other, ["photos"], is_train=False) == val
        assert full_name(other) == full_name(str(Path(other).absolute()))
    assert full_name("photos#val") == f"{name}#val"
    assert full_name("photos/labels.json@photos/images") == f"{name}/labels.json@{name}/images"
    assert full_name("coco_2017_val") == "coco_2017_val"


def test_both_parts_of_divided_data_are_read_at_once(tmp_path):
    name = whole(tmp_path)
    cfg = get_default_config()
    cfg.MODEL.NUM_CLASSES = cfg.MODEL.FCOS.NUM_CLASSES = 3
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), (name,)
    read = ContentReader()
    whole_data = make_training_data(cfg, read)
    (tmp_path / "labels.json").rename(tmp_path / "hidden.txt")
    (tmp_path / "labels.json").write_text('{"images": [{"file_name": "a.png"}], "categories": []}')
    (train,), (test,) = make_datasets(cfg, read=read)
    assert train.image_ids == whole_data.image_ids
    assert (train.division_part, test.division_part) == ("train", "val")
