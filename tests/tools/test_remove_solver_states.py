import runpy
from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.weights.load_report import CheckpointError
from tests.contract.source_tree import ROOT

TOOL = runpy.run_path(str(ROOT / "tools" / "remove_solver_states.py"))
MODEL = {"a.weight": torch.arange(4.0)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model_final.pth"
    content = {"model": MODEL, "optimizer": {"state": torch.ones(10000)}, "iteration": 7}
    torch.save(content | {"settings": {"INPUT.TO_BGR255": True}}, path)
    return path


def test_the_model_and_its_settings_remain(checkpoint: Path, capsys):
    before = checkpoint.read_bytes()
    TOOL["main"]([str(checkpoint)])
    small = checkpoint.with_name("model_final_wo_solver_states.pth")
    content = torch.load(small, weights_only=True)
    assert content.keys() == {"model", "settings"}
    assert torch.equal(content["model"]["a.weight"], MODEL["a.weight"])
    assert checkpoint.read_bytes() == before
    assert "left out: optimizer, iteration" in capsys.readouterr().out
    assert small.stat().st_size < checkpoint.stat().st_size / 4


def test_nothing_is_replaced_unless_told(checkpoint: Path):
    before = checkpoint.read_bytes()
    command = [str(checkpoint), "--output", str(checkpoint)]
    with pytest.raises(CheckpointError, match="--overwrite"):
        TOOL["main"](command)
    assert checkpoint.read_bytes() == before
    TOOL["main"]([*command, "--overwrite"])
    assert torch.load(checkpoint, weights_only=True).keys() == {"model", "settings"}


@pytest.mark.parametrize("content", [{"a.weight": torch.ones(1)}, [1], {"model": 3}])
def test_files_of_other_kinds_are_refused(content: object, tmp_path: Path):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='"model"'):
        TOOL["main"]([str(path)])
    assert list(tmp_path.iterdir()) == [path]


def test_an_absent_file_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        TOOL["main"]([str(tmp_path / "absent.pth")])
