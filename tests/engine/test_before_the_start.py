"""What would end a run after its training ends it before the first iteration."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import datasets
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.engine import build
from maskrcnn_benchmark.engine.launch import ProcessPlace, Run
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.data.tiny_coco import annotation, content, image, write

RUN = Run(torch.device("cpu"), ProcessPlace(0, 0, 1))


class BeginError(Exception):
    """The training."""


@pytest.fixture
def train(monkeypatch, tmp_path):
    """A function that begins a training on "tiny" and a test on another data set."""
    images = [image(i) for i in (1, 2)]
    ann_file, root = write(tmp_path, content(images, [annotation(1), annotation(2, 2, 7)]))
    entry = {"img_dir": str(root), "ann_file": str(ann_file)}
    monkeypatch.setitem(DatasetCatalog.DATASETS, "tiny", entry)

    def begin(cfg, run, found):
        raise BeginError(found)

    monkeypatch.setattr(build, "build_trained_model", begin)

    def training(test="tiny", **changes):
        cfg = get_default_config()
        options = ["MODEL.NUM_CLASSES", 3, "MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", True]
        cfg.merge_from_list(options)
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("tiny",), (test,)
        cfg.OUTPUT_DIR = str(tmp_path / "run")
        return build.make_training(cfg, RUN, **changes)

    return training


def test_sound_data_are_trained_on(train):
    with pytest.raises(BeginError):
        train()


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"\x89PNG")])
def test_photos_that_cannot_be_read(train, tmp_path, damage):
    damage(tmp_path / "images" / "2.png")
    with pytest.raises(DatasetError, match=r"1 of 4 photos|2 of 4 photos"):
        train()


class Squares:
    """An own class that cannot be scored."""

    name, categories = "squares", {1: "cat", 2: "dog"}

    def __init__(self, transforms=None):
        self.transforms = transforms

    def __len__(self):
        return 1

    def get_img_info(self, index):
        return {"id": 1, "width": 8, "height": 8}

    def __getitem__(self, index):
        return Image.new("RGB", (8, 8)), BoxList([[0, 0, 4, 4]], (8, 8)), index


def test_data_that_do_not_tell_what_is_to_be_found(train, monkeypatch):
    monkeypatch.setattr(datasets, "Squares", Squares, raising=False)
    monkeypatch.setitem(DatasetCatalog.DATASETS, "squares", {"factory": "Squares"})
    with pytest.raises(DatasetError, match=r"squares has no ground_truth\(\)"):
        train("squares")
    with pytest.raises(BeginError):
        train("squares", tests=False)


def test_validation_data_of_other_numbers(train, tmp_path, monkeypatch):
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    entries = [annotation(1, category_id=1)]
    data = content([image(1)], entries, categories)
    ann_file, root = write(tmp_path, data, name="val.json")
    entry = {"img_dir": str(root), "ann_file": str(ann_file)}
    monkeypatch.setitem(DatasetCatalog.DATASETS, "val", entry)
    with pytest.raises(BeginError) as begun:
        train("val")
    (found,) = begun.value.args
    assert found.train[0].categories == found.test[0].categories == {1: "cat", 2: "dog"}
    assert found.test[0].contiguous_category_id_to_json_id == {1: 2, 2: 1}


def test_a_run_that_goes_on_keeps_the_order_of_its_classes(train, monkeypatch):
    described = SimpleNamespace(class_names=lambda: {1: "dog", 2: "cat"})
    monkeypatch.setattr(build, "find_description", lambda _: described)
    with pytest.raises(BeginError) as begun:
        train()
    (found,) = begun.value.args
    assert found.train[0].categories == {1: "dog", 2: "cat"}
    assert [found.train[0].get_target(i).labels.tolist() for i in (0, 1)] == [[2], [1]]
