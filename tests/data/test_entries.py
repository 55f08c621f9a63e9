"""What is told about entries of a catalog that cannot be used."""

import multiprocessing
import pickle

import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.entries import load_dataset
from maskrcnn_benchmark.utils.catalogs import import_catalog
from tests.data.tiny_coco import write

OWN_CATALOG = """
from maskrcnn_benchmark.config.paths_catalog import ModelCatalog


class Squares:
    name, categories = "squares", {1: "square"}

    def __init__(self, size, transforms=None):
        self.size = size

    def __len__(self):
        return 2

    def get_img_info(self, index):
        return {"id": index + 1, "width": self.size, "height": self.size}

    def __getitem__(self, index):
        return self.size, None, index


class DatasetCatalog:
    @staticmethod
    def get(name):
        return {"factory": Squares, "args": ARGS}
"""


def load(monkeypatch, entry):
    monkeypatch.setitem(DatasetCatalog.DATASETS, "mine", entry)
    return load_dataset("mine", get_default_config().PATHS_CATALOG)


def own_catalog(tmp_path, arguments):
    path = tmp_path / "catalog.py"
    path.write_text(OWN_CATALOG.replace("ARGS", repr(arguments)))
    return str(path)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"image_dir": "i", "ann_file": "a"}, "'img_dir' is missing, 'image_dir' is unknown"),
        ({"img_dir": "i"}, "'ann_file' is missing"),
        ({"img_dir": "i", "ann_file": "a", "imageids": [1]}, "'imageids' is unknown"),
        ({"factory": "PascalVOCDataset", "split": "val"}, "'data_dir' is missing"),
        ({"factory": "PascalVOCDataset", "data_dir": "d", "year": 7}, "'year' is unknown.*'split'"),
    ],
)
def test_wrong_keys_of_an_entry_are_named_with_the_known_ones(monkeypatch, entry, told):
    with pytest.raises(ConfigError, match=f"data set '?mine.*{told}.*known: "):
        load(monkeypatch, entry)


def test_arguments_of_an_own_class(tmp_path):
    with pytest.raises(ConfigError, match="'sized' is unknown, 'size' is missing; known: size"):
        load_dataset("squares", own_catalog(tmp_path, {"sized": 8}))


def test_a_catalog_whose_get_fails(tmp_path):
    path = tmp_path / "catalog.py"
    path.write_text("class DatasetCatalog:\n    get = staticmethod({'a': 1}.__getitem__)\n")
    with pytest.raises(ConfigError, match=r"get\('b'\) fails: KeyError"):
        load_dataset("b", str(path))
    with pytest.raises(ConfigError, match=r"get\('a'\) must give .*, not 1"):
        load_dataset("a", str(path))


def test_a_folder_of_photos_in_the_home_folder(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    dataset = load(monkeypatch, {"img_dir": "~/images", "ann_file": "~/annotations.json"})
    assert isinstance(dataset, COCODataset)


def sizes(sent):
    return [pickle.loads(sent)[index][0] for index in range(2)]


@pytest.mark.slow
def test_own_classes_reach_processes_that_begin_anew(tmp_path):
    """As all do on macOS and Windows."""
    path = own_catalog(tmp_path, {"size": 8})
    dataset = load_dataset("squares", path)
    assert type(dataset.dataset) is import_catalog(path).Squares
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(sizes, [pickle.dumps(dataset)]) == [8, 8]
