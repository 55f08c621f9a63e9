import sys

import pytest

from maskrcnn_benchmark.config import get_default_config, paths_catalog
from maskrcnn_benchmark.utils.imports import import_file


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "catalog.py"
    path.write_text("VALUE = 7\n")
    return path


def test_the_module_is_returned_and_stays_out_of_the_way(source):
    assert import_file("their.catalog", source).VALUE == 7
    assert "their.catalog" not in sys.modules


def test_it_can_be_made_importable(source):
    module = import_file("their_catalog", str(source), make_importable=True)
    assert sys.modules.pop("their_catalog") is module


def test_the_default_catalog_is_found_from_any_folder(tmp_path, monkeypatch):
    """Bug: scripts that import cfg.PATHS_CATALOG failed outside of the source tree."""
    monkeypatch.chdir(tmp_path)
    path = get_default_config().PATHS_CATALOG
    assert import_file("maskrcnn_benchmark.config.paths_catalog", path, True) is paths_catalog
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("VALUE = 7\n")
    assert import_file("mine", path).VALUE == 7


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py"):
        import_file("x", tmp_path / "nowhere.py")


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "data.json").write_text("{}")
    with pytest.raises(ValueError, match=r"data\.json"):
        import_file("x", tmp_path / "data.json")
