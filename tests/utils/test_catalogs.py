from pathlib import Path

import pytest

from maskrcnn_benchmark.config import ConfigError, get_default_config, paths_catalog
from maskrcnn_benchmark.utils.catalogs import catalog_class, import_catalog
from maskrcnn_benchmark.utils.imports import import_file


def test_the_default_is_the_packages_own_from_any_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert import_catalog(get_default_config().PATHS_CATALOG) is paths_catalog


def test_the_packages_own_is_never_run_again(tmp_path: Path, monkeypatch):
    """Bug: any spelling but the default's made a second copy, without a script's data sets."""
    own = Path(paths_catalog.__file__)
    (tmp_path / "link.py").symlink_to(own)
    spellings = [own, own.parent / ".." / own.parent.name / own.name, tmp_path / "link.py"]
    monkeypatch.chdir(own.parent)
    for spelling in (*spellings, "paths_catalog.py", "./paths_catalog.py"):
        assert import_catalog(str(spelling)) is paths_catalog
    monkeypatch.chdir(tmp_path)
    assert import_catalog(f"./{get_default_config().PATHS_CATALOG}") is paths_catalog
    name = paths_catalog.__name__
    assert import_file(name, own, make_importable=True) is paths_catalog


def test_a_user_may_have_a_catalog_of_their_own(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text("class ModelCatalog:\n    get = staticmethod(lambda name: '/w/' + name)\n")
    assert import_catalog(str(path)).ModelCatalog.get("x") == "/w/x"


def test_a_missing_catalog_is_named():
    with pytest.raises(ConfigError, match=r"PATHS_CATALOG.*nowhere\.py"):
        import_catalog("nowhere.py")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = (\n", r"line 1: "),
        ("import no_such_module\n", "line 1: ModuleNotFoundError.*no_such_module"),
        ("\ny = z\n", "line 2: NameError.*'z'"),
    ],
)
def test_a_catalog_that_cannot_be_run_is_named_with_the_line(tmp_path, text, told):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"PATHS_CATALOG: .*mine\.py.*{told}"):
        import_catalog(str(path))


def test_a_class_that_a_catalog_lacks_is_named(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"mine\.py has no ModelCatalog.*import ModelCatalog"):
        catalog_class(import_catalog(str(path)), "ModelCatalog")


def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text("class DatasetCatalog:\n    pass\n")
    assert catalog_class(import_catalog("~/mine.py"), "DatasetCatalog")
