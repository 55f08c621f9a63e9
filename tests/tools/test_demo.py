import logging
import re
from types import MappingProxyType
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.photo_files import find_photos
from tools import demo

CONFIG = "configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml"


class FakePredictor:
    """Finds a person (0.9) in the middle and a bicycle (0.4) in the corner of every photo."""

    class_names = MappingProxyType({})

    def __call__(self, image):
        width, height = image.size
        middle = [width / 4, height / 4, 3 * width / 4, 3 * height / 4]
        boxes = BoxList([[0, 0, 5, 5], middle], image.size)
        boxes.add_field("labels", torch.tensor([2, 1]))
        boxes.add_field("scores", torch.tensor([0.4, 0.9]))
        boxes.add_field("mask", torch.ones(2, 1, 28, 28))
        return boxes


@pytest.fixture
def fake_model(monkeypatch):
    asked = []

    def from_config(cfg, weights=None):
        asked.append((cfg, weights))
        return FakePredictor()

    monkeypatch.setattr(Predictor, "from_config", from_config)
    return asked


def save_photo(path, size_wh=(80, 60), colour="navy"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_wh, colour).save(path)
    return path


def call(source, output, *more):
    arguments = ["--config-file", CONFIG, "--input", str(source), "--output", str(output), *more]
    return demo.main(arguments)


def test_a_photo_is_drawn_on(fake_model, tmp_path):
    photo = save_photo(tmp_path / "in" / "a.jpg")
    assert call(photo, tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a.jpg") as drawn, Image.open(photo) as original:
        assert drawn.size == original.size
        difference = np.abs(np.asarray(drawn, int) - np.asarray(original, int))
        assert difference[20:40, 30:50].mean() > 20
        assert difference[:5, :5].mean() < 5


def test_proposals_without_classes_are_drawn(monkeypatch, tmp_path, capsys):
    found = BoxList([[0, 0, 5, 5], [20, 15, 60, 45]], (80, 60))
    found.add_field("objectness", torch.tensor([0.4, 0.9]))
    monkeypatch.setattr(
        Predictor, "from_config", lambda *_: Mock(return_value=found, class_names={})
    )
    photo = save_photo(tmp_path / "a.png")
    options = ["MODEL.FCOS_ON", "False", "MODEL.MASK_ON", "False", "MODEL.FCOS_MASK", "False"]
    assert call(photo, tmp_path / "out", *options) == 0
    assert "1 proposal ->" in capsys.readouterr().out
    difference = np.abs(np.asarray(Image.open(tmp_path / "out" / "a.png"), int) - [0, 0, 128])
    assert difference[14:17, 20:60].mean() > 10


def test_a_folder_is_searched_with_its_subfolders(fake_model, tmp_path):
    save_photo(tmp_path / "in" / "a.png")
    save_photo(tmp_path / "in" / "deep" / "er" / "a.BMP")
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    assert call(tmp_path / "in", tmp_path / "out") == 0
    written = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*"))
    assert [str(path) for path in written] == ["a.png", "deep/er/a.BMP.png"]


def test_drawings_in_the_folder_are_not_drawn_on_again(fake_model, tmp_path):
    save_photo(tmp_path / "a.png")
    for _ in range(2):
        assert call(tmp_path, tmp_path / "drawn") == 0
    assert [path.name for path in (tmp_path / "drawn").rglob("*")] == ["a.png"]


def test_unreadable_files_are_counted_and_named_and_the_others_drawn(fake_model, tmp_path, capsys):
    save_photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"not a photo")
    assert call(tmp_path / "in", tmp_path / "out") == 1
    assert (tmp_path / "out" / "good.png").exists()
    printed = capsys.readouterr().out
    assert "Drew on 1 of 2 photos" in printed
    assert "1 could not be read:\n  " + str(tmp_path / "in" / "bad.jpg") in printed


def test_what_was_found_is_told(fake_model, tmp_path, capsys):
    photo = save_photo(tmp_path / "a.png")
    call(photo, tmp_path / "out")
    assert "a.png: 1 person -> " in capsys.readouterr().out
    call(photo, tmp_path / "out", "--score-threshold", "0.3")
    assert "a.png: 1 person, 1 bicycle -> " in capsys.readouterr().out


def test_weights_and_settings_reach_the_model(fake_model, tmp_path):
    photo = save_photo(tmp_path / "a.png")
    call(photo, tmp_path / "out", "--weights", "w.pth", "INPUT.MIN_SIZE_TEST", "123")
    ((cfg, weights),) = fake_model
    assert weights == "w.pth"
    assert cfg.INPUT.MIN_SIZE_TEST == 123


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--score-threshold", "1.5"], "--score-threshold: expected 0 to 1, got 1.5"),
        (["NO.SUCH_KEY", "1"], "NO"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(fake_model, tmp_path, capsys, more, message):
    photo = save_photo(tmp_path / "a.png")
    assert call(photo, tmp_path / "out", *more) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert message in line


def test_weights_that_are_not_there_are_one_clear_line(tmp_path, capsys):
    photo = save_photo(tmp_path / "a.png")
    assert call(photo, tmp_path / "out", "--weights", str(tmp_path / "absent.pth")) == 2
    assert "absent.pth" in capsys.readouterr().out.splitlines()[-1]


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(ConfigError, match="absent"):
        find_photos([tmp_path / "absent"], tmp_path / "out")


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        find_photos([tmp_path], tmp_path / "out")


@pytest.mark.parametrize("is_folder", [True, False])
def test_photos_are_never_replaced(tmp_path, is_folder):
    photo = save_photo(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png"):
        find_photos([tmp_path if is_folder else photo], tmp_path)


def test_the_logger_is_closed_afterwards(fake_model, tmp_path):
    call(save_photo(tmp_path / "a.png"), tmp_path / "out")
    assert logging.getLogger("maskrcnn_benchmark").handlers == []


def test_drawings_never_replace_each_other(tmp_path):
    for name in ("a.gif", "a.gif.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(ConfigError, match=r"a\.gif .*a\.gif\.png"):
        find_photos([tmp_path], tmp_path / "drawn")


def test_a_file_is_no_place_for_drawings(tmp_path):
    photo = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(photo)
    with pytest.raises(ConfigError, match=r"a\.png"):
        find_photos([photo], photo)


def test_classes_are_called_as_the_checkpoint_says(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(FakePredictor, "class_names", {1: "my own class", 2: "another"})
    monkeypatch.setattr(Predictor, "from_config", lambda *_: FakePredictor())
    assert call(save_photo(tmp_path / "a.png"), tmp_path / "out") == 0
    assert "my own class" in capsys.readouterr().out
