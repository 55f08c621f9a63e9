"""The runtime alone, installed by pip in an environment of its own, without PyTorch."""

import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.centermask_runtime.small_export import metadata, write_export
from tests.contract.source_tree import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Folder of the programs of an environment with the runtime and what it needs."""
    folder = tmp_path_factory.mktemp("install")
    # pip leaves files of its own in a source folder.
    source = shutil.copytree(
        ROOT / "centermask_runtime",
        folder / "source",
        ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"),
    )
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    told = subprocess.run([*pip, source], capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip(f"pip cannot fetch what is needed: {told.stderr.strip().splitlines()[-1]}")
    return programs


def test_the_command_draws_where_there_is_no_pytorch(environment, tmp_path):
    model = write_export(tmp_path / "model.onnx", metadata())
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48), "navy").save(photo)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [model, photo, "--output", tmp_path / "out", "--save-json"]
    drawn = subprocess.run(
        [environment / "centermask-runtime", *words],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.jpg", "predictions.json")
    ]
    torch = [environment / "python", "-c", "import torch"]
    assert subprocess.run(torch, cwd=tmp_path, env=clean, capture_output=True).returncode
