from pathlib import Path

import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.prediction.sources import Video, find_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png", "clip.mp4", "CLIP2.MOV", "deep/c.jpg", "deep/clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(*words, output="out"):
    sources = find_sources(words, Path(output), "SOURCES")
    return [str(one.source) for one in sources.photos], [str(one.source) for one in sources.videos]


def test_photos_and_videos_are_told_apart(folder):
    assert found("a.jpg", "clip.mp4") == (["a.jpg"], ["clip.mp4"])
    assert found("*.*") == (["a.jpg", "b.png"], ["CLIP2.MOV", "clip.mp4"])
    assert found("clip.mp4", "clip.mp4") == ([], ["clip.mp4"])


def test_patterns_of_folders_and_of_what_lies_in_them(folder):
    assert found("d*") == (["deep/c.jpg"], ["deep/clip.mp4"])
    assert found("**/c.jpg") == (["deep/c.jpg"], [])


def test_folders_are_searched_with_their_subfolders(folder):
    (folder / "out").mkdir()
    for drawing in ("a.jpg", "clip.mp4"):
        (folder / "out" / drawing).touch()
    (folder / "data.h5").touch()
    photos = ["a.jpg", "b.png", "deep/c.jpg"]
    assert found(".") == (photos, ["CLIP2.MOV", "clip.mp4", "deep/clip.mp4"])
    targets = [video.target for video in find_sources(["."], Path("out"), "S").videos]
    assert targets == [Path("out", name) for name in ("CLIP2.mp4", "clip.mp4", "deep/clip.mp4")]
    (folder / "deep" / "c.jpg").unlink()
    assert found("deep") == ([], ["deep/clip.mp4"])


def test_a_tilde_is_the_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert found("~/a.jpg", "~/*.mp4") == ([str(folder / "a.jpg")], [str(folder / "clip.mp4")])


def test_numbers_are_cameras_unless_a_file_has_that_name(folder):
    assert find_sources(["0"], folder, "S").videos == [Video(0, folder / "camera0.mp4")]
    (folder / "1").touch()
    assert found("1") == (["1"], [])


@pytest.mark.parametrize("words", [["absent.mp4"], ["*.webm"], ["clip.mp4", "deep/clip.mp4"]])
def test_what_cannot_be_done_is_said(folder, words):
    with pytest.raises(ConfigError, match=r"absent|webm|would both be"):
        found(*words)


def test_a_drawing_never_replaces_its_video(folder):
    with pytest.raises(ConfigError, match="would replace"):
        found("clip.mp4", output=".")
