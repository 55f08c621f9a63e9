"""Help, wrong words and the list of models: answered at once, without PyTorch."""

import re

import pytest

from maskrcnn_benchmark.cli import COMMANDS, main
from maskrcnn_benchmark.cli.arguments import split_settings
from maskrcnn_benchmark.config.shipped import MODELS
from tests.tools.start_up import SLOW, run

MODULE = ("-m", "maskrcnn_benchmark.cli")
SCREEN_LINES, SCREEN_COLUMNS = 45, 100


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_a_screen_has_examples_and_needs_nothing_slow(command):
    words = [command, "--help"] if command else ["--help"]
    code, output, imported = run(*MODULE, *words)
    shown = [line for line in output.splitlines() if not line.startswith("import time:")]
    assert code == 0
    assert len(shown) <= SCREEN_LINES
    assert max(map(len, shown)) <= SCREEN_COLUMNS
    assert f"  centermask {command or 'train'}" in output
    assert not imported & SLOW


def test_an_unknown_command_is_named_with_the_nearest(capsys):
    assert main(["training"]) == 2
    assert "train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train"], "--data"),
        (["train", "--data", "here", "--model", "centermask-lite-r5"], "centermask-lite-r50"),
        (["train", "--data", "here", "--epochs", "0"], "--epochs"),
        (["train", "--data", "here", "--epochs", "nan"], "--epochs"),
        (["train", "--data", "here", "--weights", "absent.pth"], "absent.pth"),
        (["train", "--config-file", "absent.yaml"], "absent.yaml"),
        (["train", "--data", "here", "SOLVER.BASE_LR"], "got: SOLVER.BASE_LR"),
        (["predict", "model.pth", "a.jpg", "TEST.EXPECTED_RESULTS"], "in pairs"),
        (["predict", "model.pth", "a.jpg", "input.min_size_test", "9"], "INPUT.MIN_SIZE_TEST"),
        (["train", "--data", "here", "SOLVER.BASE_LRR", "1"], "SOLVER.BASE_LR"),
        (["predict", "model.pth"], "photos"),
        (["predict", "model.pth", "absent.jpg"], "absent.jpg"),
        (["predict", "model.pth", "a.jpg", "--threshold", "2"], "--threshold"),
        (["convert", "a.pth", "b.pth"], "--model"),
    ],
)
def test_wrong_words_are_named_before_anything_slow(words, named):
    code, output, imported = run(*MODULE, *words)
    assert code == 2
    assert named in output
    assert "Traceback" not in output
    assert not imported & (SLOW - {"numpy"})


def test_models_are_listed_with_their_size_and_start(capsys):
    assert main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(MODELS) <= set(lines)
    assert all(part in lines["centermask-lite-mv2"] for part in ("3.6 M", "26.7", "bundled"))
    assert "torchvision: resnet50" in lines["mask-rcnn-r50"]
    assert main(["models", "nothing like it"]) == 1


def test_settings_start_at_the_first_name_of_one():
    words = ["a.jpg", "MODEL.jpg.d", "b/SOLVER.BASE_LR", "MODEL.DEVICE", "cpu"]
    assert split_settings(words[:1] + words[2:]) == (["a.jpg", words[2]], words[3:])
    assert split_settings(["SEED", "1"]) == ([], ["SEED", "1"])
    assert split_settings([]) == ([], [])


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--sheet", "worst.doc"], "--sheet: .*png"), (["--fix", "."], "--fix: .*empty folder")],
)
def test_places_that_check_data_cannot_write_to(words, told, capsys):
    with pytest.raises(SystemExit):
        main(["check-data", "photos", *words])
    assert re.search(told, capsys.readouterr().err)
