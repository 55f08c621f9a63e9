"""The command predict on photos and a video, with a model that needs no weights."""

import json

import pytest
from PIL import Image

from maskrcnn_benchmark.cli import main, predict
from tests.prediction.small_model import SmallModel, write_clip


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "load_any_predictor", lambda *_: SmallModel())
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"no photo")
    write_clip(folder / "c.avi", num_frames=3)
    return folder


def test_everything_is_drawn_on_that_can_be_read(sources, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", "m.pth", str(sources), "--output", str(out), "--save-json"]) == 1
    assert {path.name for path in out.iterdir()} == {"a.png", "c.mp4", "predictions.json"}
    results = json.loads((out / "predictions.json").read_text())
    # Two objects score at least the model's own threshold, on a photo and on three frames.
    assert [result["file_name"][-5:] for result in results] == ["a.png"] * 2 + ["c.avi"] * 6
    told = capsys.readouterr().out
    assert "b.jpg" in told
    assert "0.40" in told


def test_the_threshold_may_be_given(sources, tmp_path):
    words = ["--output", str(tmp_path), "--save-json", "--threshold", "0.7"]
    assert main(["predict", "m.pth", str(sources / "a.png"), *words]) == 0
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 1


def test_ctrl_c_keeps_the_results_so_far(sources, tmp_path, monkeypatch):
    photos = []

    def interrupt(image):
        photos.append(image)
        if len(photos) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(predict, "load_any_predictor", lambda *_: SmallModel(interrupt))
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        main(["predict", "m.pth", str(sources), "--output", str(out), "--save-json"])
    assert end.value.code == 130
    assert {path.name for path in out.iterdir()} == {"a.png", "c.mp4", "predictions.json"}
    assert len(json.loads((out / "predictions.json").read_text())) == 4
