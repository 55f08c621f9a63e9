import pytest

from maskrcnn_benchmark.utils.miscellaneous import mkdir


def test_parents_are_made_and_a_second_call_is_fine(tmp_path):
    for _ in range(2):
        mkdir(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_the_empty_path_is_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mkdir("")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        mkdir(tmp_path / "file")
