import subprocess
import sys

import pytest

from centermask_runtime.files import as_file_name, atomic_write, remove_unfinished


def test_text_and_bytes_arrive_and_nothing_else_is_left(tmp_path):
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("grün")
    with atomic_write(str(tmp_path / "b.bin")) as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "grün"
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.bin"]


def test_the_old_content_stays_until_the_block_has_ended(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def fail_while_writing(path):
    with atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_failure_keeps_the_old_content_and_cleans_up(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        fail_while_writing(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_parents_are_made_and_permissions_are_those_of_any_new_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with atomic_write(path) as file:
        file.write(b"")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_writer_left_is_removed(tmp_path):
    script = """
import os, sys
from centermask_runtime.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "model.pth")]
    assert subprocess.run(command, check=False).returncode == 9
    (tmp_path / "kept").touch()
    assert not (tmp_path / "model.pth").exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert len(remove_unfinished(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_other_modes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got 'a'"), atomic_write(tmp_path / "file", "a"):
        pass


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("coco_2017_val", "coco_2017_val"),
        ("/home/me/my photos/#val", "my_photos_#val"),
        ("..\\data\\a.json@b/", "data_a.json@b"),
        ("../..", "_"),
        ("données/été", "données_été"),
    ],
)
def test_texts_become_names_in_one_folder(text, name):
    assert as_file_name(text) == name
