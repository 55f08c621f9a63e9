"""`centermask predict` with results of many photos."""

import json
from pathlib import Path

import pytest
from PIL import Image

from maskrcnn_benchmark.cli import main


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30), (70 * number, 90, 40)).save(folder / f"{number}.png")
    return folder


def predict(model, photos, output, *words):
    given = ["--output", str(output), "--device", "cpu", "--threshold", "0", *words]
    return main(["predict", model, str(photos), *given])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_hold_what_the_results_of_drawings_hold(model, photos, tmp_path, capsys):
    path = tmp_path / "found.jsonl"
    (photos / "bad.png").write_bytes(b"no photo")
    assert predict(model, photos, path) == 1
    (photos / "bad.png").unlink()
    assert predict(model, photos, tmp_path / "drawn", "--save-json") == 0
    drawn = json.loads((tmp_path / "drawn" / "predictions.json").read_text())
    found = [
        {"file_name": record["file_name"], **thing}
        for record in lines(path)
        for thing in record["objects"]
    ]
    assert found == [{key: one[key] for key in one if key != "image_id"} for one in drawn]
    assert {one["category_name"] for one in found} <= {"cat", "dog"}
    with pytest.raises(SystemExit, match="2"):
        predict(model, photos, path)
    assert "--resume" in capsys.readouterr().out


def test_processes_of_torchrun_share_the_photos(model, photos, tmp_path, monkeypatch):
    # Whose work a photo is depends on its path as it is given.
    monkeypatch.chdir(tmp_path)
    photos, path = Path("photos"), tmp_path / "found.jsonl"
    (photos / "bad.png").write_bytes(b"no photo")
    for number in range(3, 9):
        Image.new("RGB", (40, 30)).save(photos / f"{number}.png")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        # A process that ended with 1 for a bad photo would make torchrun stop the others.
        assert predict(model, photos, path, "--resume") == 0
    parts = sorted(tmp_path.glob("found-*.jsonl"))
    assert len(parts) == 2
    names = [record["file_name"] for part in parts for record in lines(part)]
    assert sorted(names) == sorted(map(str, photos.iterdir()))
    monkeypatch.delenv("WORLD_SIZE")
    assert predict(model, photos, path, "--resume") == 0
    assert not path.exists()


def test_another_threshold_or_model_is_refused(model, photos, tmp_path, capsys):
    path = tmp_path / "found.jsonl"
    assert predict(model, photos, path, "--resume") == 0
    for words, named in (
        (["--threshold", "0.25"], "0.25"),
        (["TEST.DETECTIONS_PER_IMG", "1"], "settings.TEST.DETECTIONS_PER_IMG"),
        ([str(photos / "0.png")], "sources"),
    ):
        with pytest.raises(SystemExit, match="2"):
            predict(model, photos, path, "--resume", *words)
        told = capsys.readouterr()
        assert named in told.out + told.err


def test_a_model_of_another_name_or_place_is_the_same_if_its_file_is(
    model, photos, tmp_path, monkeypatch
):
    path, copy = tmp_path / "found.jsonl", tmp_path / "copy.pth"
    copy.write_bytes(Path(model).read_bytes())
    assert predict(model, photos, path, "--resume") == 0
    assert predict(str(copy), photos, path, "--resume") == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert predict("~/copy.pth", photos, path, "--resume") == 0


@pytest.mark.parametrize("words", [["--resume"], ["--ray", "2"], ["--batch", "2"]])
def test_options_for_many_photos_need_a_file_for_the_results(photos, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict("model.pth", photos, "drawn", *words)
    assert ".jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--save-json", "--save-masks", "--crops"])
def test_options_for_drawings_do_not_go_with_a_file_for_the_results(photos, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict("model.pth", photos, "found.jsonl", option)
    assert option in capsys.readouterr().err
