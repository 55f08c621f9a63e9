"""From a labelling tool's export to masks on new photos, as a newcomer goes it."""

import json

import pytest
from PIL import Image

from maskrcnn_benchmark.cli import main
from tests.cli.small_data import TINY, WRITERS, write_roboflow


def test_data_are_looked_through_in_all_parts(tmp_path, capsys):
    data = write_roboflow(tmp_path / "photos")
    assert main(["check-data", str(data)]) == 0
    told = capsys.readouterr().out
    assert "part train" in told
    assert "part val" in told
    (data / "valid" / "p6.jpg").write_bytes(b"no photo")
    assert main(["check-data", str(data)]) == 1
    assert "p6.jpg" in capsys.readouterr().out
    assert main(["check-data", f"{data}#train"]) == 0


def test_a_path_that_is_not_there_is_said(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["check-data", str(tmp_path / "absent")])
    assert "absent" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_three_commands_are_enough(tmp_path, kind, capsys):
    data, run = WRITERS[kind](tmp_path / "photos"), tmp_path / "run"
    words = ["--device", "cpu", "--output", str(run), *TINY]
    assert main(["train", "--data", str(data), *words]) == 0
    model = str(run / "model_final.pth")
    assert main(["test", model, "--device", "cpu"]) == 0
    photo, drawn = next(data.rglob("p1.jpg")), tmp_path / "drawn"
    capsys.readouterr()
    words = ["--device", "cpu", "--threshold", "0", "--save-json", "--output", str(drawn)]
    assert main(["predict", model, str(photo), *words]) == 0
    with Image.open(drawn / "p1.jpg") as drawing:
        assert drawing.size == (96, 72)
    results = json.loads((drawn / "predictions.json").read_text())
    assert len(results) == 5
    for result in results:
        assert result["file_name"] == str(photo)
        assert result["category_name"] in ("red", "blue")
        assert result["segmentation"]["size"] == [72, 96]
