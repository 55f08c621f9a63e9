"""The notebook runs, cell after cell, and is small."""

import json

import pytest

from tests.contract.source_tree import ROOT

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
MAX_BYTES = 150_000


def code_cells():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def test_it_is_small_and_shows_what_it_makes():
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    outputs = [output for cell in code_cells() for output in cell["outputs"]]
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_its_links_lead_somewhere():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    text = "".join(line for cell in content["cells"] for line in cell["source"])
    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    assert targets
    assert not [target for target in targets if not (NOTEBOOK.parent / target).is_file()]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "notebook"}
    for cell in code_cells():
        source = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", ()):
            source = "STEPS = 2"
        exec(compile(source, str(NOTEBOOK), "exec"), space)
    assert (tmp_path / "run" / "model_best.pth").is_file()
    # So little training finds next to nothing; the numbers are there all the same.
    assert "AP" in capsys.readouterr().out
