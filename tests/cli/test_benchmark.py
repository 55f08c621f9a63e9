"""`centermask benchmark`; nothing is timed for its number here."""

import json

import pytest
from PIL import Image

from maskrcnn_benchmark.cli import main
from maskrcnn_benchmark.timing import turns
from maskrcnn_benchmark.timing.stages import STAGES


@pytest.fixture(autouse=True)
def _small_ceiling(monkeypatch):
    """Products that take no time."""
    monkeypatch.setattr(turns, "GEMM_SIDE", 256)


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (40, 30), (70, 90, 40)).save(tmp_path / "a.jpg")
    return str(tmp_path / "a.jpg")


def test_every_batch_size_has_its_numbers_on_the_screen_and_in_the_file(
    model, photo, tmp_path, capsys
):
    file = tmp_path / "times.json"
    words = ["--rounds", "1", "--batch", "1", "2", "--threads", "1", "--json", str(file)]
    assert main(["benchmark", model, photo, "--modes", "plain", "fast", *words]) == 0
    shown = capsys.readouterr().out
    entries = json.loads(file.read_text())
    assert [entry["batch"] for entry in entries] == [1, 2]
    for entry in entries:
        assert entry["machine"] in shown
        assert list(entry["whole"]) == ["plain", "fast"]
        for result in entry["whole"].values():
            assert len(result["masks"]) == entry["batch"]
            assert (
                {"decode", "resize", "head", "paste, RLE"} <= set(result["stages"]) <= set(STAGES)
            )
            assert f"| {result['median']} | {result['p90']} |" in shown
        assert entry["dense"]["input"][0] == entry["batch"]
        assert "ceiling float32" in entry["dense"]["times"]


def test_other_programs_take_turns_as_far_as_they_are_installed(model, photo, tmp_path):
    file = tmp_path / "times.json"
    words = ["--rounds", "1", "--threads", "1", "--modes", "plain", "--peers", "--json", str(file)]
    assert main(["benchmark", model, photo, *words]) == 0
    (entry,) = json.loads(file.read_text())
    names = [name for name in entry["whole"] if name.startswith("torchvision")]
    assert len(names) == 1
    assert entry["whole"][names[0]]["masks"] == entry["whole"]["plain"]["masks"]


@pytest.mark.parametrize(
    ("words", "named"),
    [([], "photos"), (["a.jpg", "--rounds", "0"], "--rounds"), (["a.jpg", "--batch", "-1"], "--")],
)
def test_wrong_words(words, named, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "model.pth", *words])
    assert named in capsys.readouterr().err


def test_an_unknown_mode_is_named_with_the_known_ones(model, photo, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", model, photo, "--modes", "plane"])
    assert "plain" in capsys.readouterr().err
