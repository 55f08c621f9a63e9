"""Annotations of another format than COCO's."""

import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import make_datasets
from maskrcnn_benchmark.data.datasets.readers import read_content
from maskrcnn_benchmark.data.entries import load_dataset
from maskrcnn_benchmark.data.errors import DatasetError
from tests.data.tiny_coco import image, write


class CsvReader:
    """Reads lines "file,class,x,y,w,h"; counts how often it is asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, ann_file, root):
        self.calls.append((ann_file, root))
        with open(ann_file) as file:
            rows = [line.strip().split(",") for line in file]
        names = sorted({row[1] for row in rows})
        return {
            "images": [image(i) for i in (1, 2)],
            "categories": [{"id": 10 * i, "name": name} for i, name in enumerate(names, start=1)],
            "annotations": [
                {
                    "id": i,
                    "image_id": int(file_name.split(".")[0]),
                    "category_id": 10 * (1 + names.index(name)),
                    "bbox": [float(number) for number in box],
                }
                for i, (file_name, name, *box) in enumerate(rows, start=1)
            ],
        }


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Of the data sets "own" (in both splits) and "few", which have one file."""
    _, root = write(tmp_path, {"images": [image(1), image(2)]})
    (tmp_path / "a.csv").write_text("2.png,dog,1,1,4,4\n1.png,cat,2,1,4,4\n")
    read = CsvReader()
    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", str(tmp_path))
    entry = {"img_dir": root.name, "ann_file": "a.csv", "reader": read}
    entries = {"own": entry, "few": {**entry, "image_ids": [2]}}
    monkeypatch.setattr(DatasetCatalog, "DATASETS", entries)
    return read


def settings(**names):
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", True, "MODEL.NUM_CLASSES", 3])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = names["train"], names["test"]
    return cfg


def test_one_function_makes_data_sets_of_all_kinds(reader, tmp_path):
    made = make_datasets(settings(train=("own", "few"), test=("few", "own")))
    assert [dataset.name for dataset in (*made.train, *made.test)] == ["own", "few", "few", "own"]
    own, few = made.train
    assert own.categories == {1: "cat", 2: "dog"}
    assert own.contiguous_category_id_to_json_id == {1: 10, 2: 20}
    assert [own.get_target(i).labels.tolist() for i in range(2)] == [[1], [2]]
    assert own.get_target(0).bbox.tolist() == [[2, 1, 5, 4]]
    assert few.image_ids == [2]
    assert (own.has_masks, own.transforms) == (False, None)
    truth = made.test[1].ground_truth()["annotations"]
    assert [(one["id"], one["area"], one["iscrowd"]) for one in truth] == [(2, 16, 0), (1, 16, 0)]
    assert reader.calls == [(str(tmp_path / "a.csv"), str(tmp_path / "images"))]


def test_a_data_set_of_the_catalog_alone(reader):
    dataset = load_dataset("few", get_default_config().PATHS_CATALOG)
    assert (dataset.name, dataset.image_ids) == ("few", [2])


def test_what_a_reader_returns_is_checked(tmp_path):
    with pytest.raises(DatasetError, match=r"labels: 'images'"):
        read_content("labels", tmp_path, lambda ann_file, root: {})


def test_unknown_readers_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"reader 'coco'.*coco_json"):
        read_content("labels", tmp_path, "coco")


def test_labels_may_be_the_ids_of_categories(tmp_path):
    """Ids 1 and 3: class 2 is there, and never occurs."""
    content = {
        "images": [image(1)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 3, 3]}],
    }
    path, root = write(tmp_path, content)
    by_id = read_content(path, root, "coco_json_by_id")
    assert list(by_id.categories) == [1, 2, 3]
    assert by_id.categories[3] == "cat"
    assert by_id.annotations.labels.tolist() == [3]
    assert read_content(path, root).annotations.labels.tolist() == [2]
