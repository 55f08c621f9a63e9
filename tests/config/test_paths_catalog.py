import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog, ModelCatalog

COCO_2014 = ("train", "val", "minival", "valminusminival")
NAMES = {
    *(f"coco_2017_{split}" for split in ("train", "val", "test_dev")),
    *(f"coco_2017_{split}_by_id" for split in ("train", "val")),
    *(f"coco_2014_{split}" for split in COCO_2014),
    *(f"keypoints_coco_2014_{split}" for split in COCO_2014),
    *(f"voc_{year}_{split}" for year in (2007, 2012) for split in ("train", "val", "test")),
    *(f"voc_2007_{split}_cocostyle" for split in ("train", "val", "test")),
    *(f"voc_2012_{split}_cocostyle" for split in ("train", "val")),
    *(
        f"cityscapes_fine_instanceonly_seg_{split}_cocostyle"
        for split in ("train", "val", "test")
    ),
    "boards_train",
    "boards_val",
    "quickstart_train",
    "quickstart_train_few",
    "quickstart_val",
}  # fmt: skip


def test_the_promised_data_sets_are_known():
    assert set(DatasetCatalog.DATASETS) == NAMES


@pytest.mark.parametrize(
    ("name", "root", "ann_file"),
    [
        ("coco_2017_train", "coco/train2017", "coco/annotations/instances_train2017.json"),
        (
            "coco_2017_test_dev",
            "coco/test2017",
            "coco/annotations/image_info_test-dev2017.json",
        ),
        ("coco_2014_train", "coco/train2014", "coco/annotations/instances_train2014.json"),
        ("coco_2014_minival", "coco/val2014", "coco/annotations/instances_minival2014.json"),
        (
            "keypoints_coco_2014_valminusminival",
            "coco/val2014",
            "coco/annotations/person_keypoints_valminusminival2014.json",
        ),
        (
            "voc_2012_val_cocostyle",
            "voc/VOC2012/JPEGImages",
            "voc/VOC2012/Annotations/pascal_val2012.json",
        ),
        (
            "cityscapes_fine_instanceonly_seg_val_cocostyle",
            "cityscapes/images",
            "cityscapes/annotations/instancesonly_filtered_gtFine_val.json",
        ),
    ],
)
def test_coco_style_data_sets_lie_in_the_usual_folders(monkeypatch, name, root, ann_file):
    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", "data")
    assert DatasetCatalog.get(name) == {
        "factory": "COCODataset",
        "args": {"root": f"data/{root}", "ann_file": f"data/{ann_file}"},
    }


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_quickstart_photos_are_found_from_any_folder(monkeypatch, tmp_path, split):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", str(tmp_path))
    args = DatasetCatalog.get(f"quickstart_{split}")["args"]
    images = json.loads(Path(args["ann_file"]).read_text())["images"]
    assert images
    assert all((Path(args["root"]) / image["file_name"]).is_file() for image in images)


def test_voc_data_sets_lie_in_the_usual_folders(monkeypatch):
    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", "data")
    assert DatasetCatalog.get("voc_2012_val") == {
        "factory": "PascalVOCDataset",
        "args": {"data_dir": "data/voc/VOC2012", "split": "val"},
    }


def test_scripts_can_add_data_sets_of_their_own(monkeypatch):
    mine = {"img_dir": "mine/images", "ann_file": "/elsewhere/mine.json"}
    other = {"factory": "OtherDataset", "data_dir": "other", "split": "train"}
    monkeypatch.setattr(DatasetCatalog, "DATA_DIR", "data")
    monkeypatch.setattr(DatasetCatalog, "DATASETS", {"mine": mine, "other": other})
    assert DatasetCatalog.get("mine")["args"] == {
        "root": "data/mine/images",
        "ann_file": "/elsewhere/mine.json",
    }
    assert DatasetCatalog.get("other") == {
        "factory": "OtherDataset",
        "args": {"data_dir": "data/other", "split": "train"},
    }
    assert other == {"factory": "OtherDataset", "data_dir": "other", "split": "train"}


def test_an_unknown_data_set_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'coco_2018'.*coco_2017_val"):
        DatasetCatalog.get("coco_2018")


@pytest.mark.parametrize(("value", "expected"), [("", "datasets"), ("elsewhere", "elsewhere")])
def test_the_environment_can_move_the_data(value, expected):
    code = "from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog as D; D.DATA_DIR"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; print(D.DATA_DIR)"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CENTERMASK_DATASETS": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == expected


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ImageNetPretrained/MSRA/R-50", "ImageNetPretrained/MSRA/R-50.pkl"),
        ("ImageNetPretrained/MSRA/R-101-GN", "ImageNetPretrained/47592356/R-101-GN.pkl"),
        (
            "ImageNetPretrained/FAIR/20171220/X-101-32x8d",
            "ImageNetPretrained/20171220/X-101-32x8d.pkl",
        ),
        (
            "Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x",
            "35858933/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml.01_48_14.DzEQe4wC/output/"
            "train/coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x",
            "37697547/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml.08_42_54.kdzV35ao/"
            "output/train/keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival/"
            "generalized_rcnn/model_final.pkl",
        ),
    ],
)
def test_catalog_weights_have_the_urls_of_the_model_zoo(name, path):
    assert ModelCatalog.get(name) == f"https://dl.fbaipublicfiles.com/detectron/{path}"


def test_the_quickstart_weights_are_a_local_file():
    path = Path(ModelCatalog.get("quickstart/mobilenet_v2"))
    assert path.parts[-3:] == ("datasets", "quickstart", "mobilenet_v2_imagenet_u8_features.npz")
    assert path.is_file()


def test_unknown_weights_are_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"catalog://MSRA/R-50 .*MODEL.WEIGHT.*R-101"):
        ModelCatalog.get("MSRA/R-50")
