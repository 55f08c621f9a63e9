from pathlib import Path

import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config, paths_catalog
from maskrcnn_benchmark.utils.catalogs import import_catalog


def test_the_default_is_the_packages_own_from_any_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert import_catalog(get_default_config().PATHS_CATALOG) is paths_catalog


def test_a_user_may_have_a_catalog_of_their_own(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("class ModelCatalog:\n    get = staticmethod(lambda name: '/w/' + name)\n")
    assert import_catalog(str(path)).ModelCatalog.get("x") == "/w/x"


def test_a_missing_catalog_is_named():
    with pytest.raises(ConfigError, match=r"PATHS_CATALOG.*nowhere\.py"):
        import_catalog("nowhere.py")
