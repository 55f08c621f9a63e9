import json

import pytest

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.visualization.class_names import COCO_CLASS_NAMES, build_class_names


@pytest.fixture
def cfg():
    cfg = get_default_config()
    cfg.merge_from_list(["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", True])
    return cfg


def test_names_of_coco_are_those_of_the_bundled_photos(cfg):
    cfg.DATASETS.TEST = ("quickstart_val",)
    assert build_class_names(cfg) == dict(enumerate(COCO_CLASS_NAMES, start=1))


def test_names_of_coco_where_the_data_set_is_not_here(cfg):
    cfg.DATASETS.TEST = ("coco_2017_val", "voc_2007_test")
    assert build_class_names(cfg)[80] == "toothbrush"


def test_names_by_ascending_category_id_of_an_own_data_set(cfg, tmp_path, monkeypatch):
    path = tmp_path / "own.json"
    categories = [{"id": 9, "name": "nut"}, {"id": 4, "name": "bolt"}]
    path.write_text(json.dumps({"categories": categories}))
    entry = {"img_dir": str(tmp_path), "ann_file": str(path)}
    monkeypatch.setitem(DatasetCatalog.DATASETS, "own", entry)
    cfg.DATASETS.TRAIN = ("own",)
    cfg.MODEL.NUM_CLASSES = 3
    assert build_class_names(cfg) == {1: "bolt", 2: "nut"}


def test_numbers_where_nothing_is_known(cfg):
    cfg.DATASETS.TEST = ("quickstart_val",)
    cfg.MODEL.NUM_CLASSES = 3
    assert build_class_names(cfg) == {1: "class 1", 2: "class 2"}


def test_names_from_the_catalog_of_the_settings(cfg, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"categories": [{"id": 1, "name": "person"}]}))
    entry = {"img_dir": ".", "ann_file": str(tmp_path / "own.json")}
    catalog = tmp_path / "catalog.py"
    catalog.write_text(
        "from maskrcnn_benchmark.config import paths_catalog\n"
        "class DatasetCatalog(paths_catalog.DatasetCatalog):\n"
        f"    DATASETS = {{'own': {entry!r}}}\n"
    )
    cfg.merge_from_list(["PATHS_CATALOG", str(catalog), "DATASETS.TEST", ("unknown", "own")])
    cfg.MODEL.NUM_CLASSES = 2
    assert build_class_names(cfg) == {1: "person"}


def test_proposals_are_one_class(cfg):
    cfg.MODEL.FCOS_ON = False
    assert build_class_names(cfg) == {1: "proposal"}


def test_names_of_voc_wherever_its_files_are(cfg):
    cfg.DATASETS.TEST = ("voc_2007_test",)
    cfg.MODEL.NUM_CLASSES = 21
    names = build_class_names(cfg)
    assert (names[1], names[20], len(names)) == ("aeroplane", "tvmonitor", 20)


def test_a_class_with_keypoints_is_a_person(cfg):
    cfg.merge_from_list(["MODEL.KEYPOINT_ON", True, "MODEL.NUM_CLASSES", 2])
    assert build_class_names(cfg) == {1: "person"}


def test_names_by_the_ids_of_coco(cfg):
    cfg.MODEL.NUM_CLASSES = 91
    names = build_class_names(cfg)
    assert [names[label] for label in (1, 11, 12, 13, 90)] == [
        *("person", "fire hydrant", "class 12", "stop sign", "toothbrush")
    ]
