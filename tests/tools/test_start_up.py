"""What is imported before it is needed: PyTorch alone takes over a second."""

import re

import pytest
from PIL import Image

from tests.contract.source_tree import ROOT
from tests.tools.small_run import CONFIG
from tests.tools.start_up import SLOW, run

TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("tool", TOOLS)
def test_help_needs_nothing_slow(tool):
    code, output, imported = run(ROOT / "tools" / tool, "--help")
    assert code == 0
    assert "usage:" in output
    assert not imported & SLOW


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_prepares_its_process_before_it_imports_pytorch(tool):
    path = str(ROOT / "tools" / tool)
    code = (
        f"import os, runpy, sys; sys.argv = [{path!r}, '--help']\n"
        "os.environ.pop('GOMP_SPINCOUNT', None); os.environ.pop('OMP_NUM_THREADS', None)\n"
        f"try: runpy.run_path({path!r}, run_name='__main__')\n"
        "except SystemExit: print('spins', os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    assert "spins 1000 False" in run("-c", code)[1]


@pytest.mark.parametrize("tool", ["train_net.py", "test_net.py"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: name a file of settings: --config-file CONFIG"),
        (["--config-file", CONFIG, "SOLVER.BASE_LRR", "1"], "Error: unknown key SOLVER.BASE_LRR"),
    ],
)
def test_a_wrong_argument_needs_nothing_slow(tool, words, message):
    code, output, imported = run(ROOT / "tools" / tool, *words)
    assert code == 2
    assert re.search(message, output)
    assert "Traceback" not in output
    assert not imported & SLOW


def test_an_input_that_is_not_there_needs_nothing_slow(tmp_path):
    absent, output = tmp_path / "absent.jpg", tmp_path / "drawn"
    words = ["--config-file", CONFIG, "--input", absent, "--output", output]
    code, output, imported = run(ROOT / "tools" / "demo.py", *words)
    assert code == 2
    assert "--input: no such file or folder" in output
    assert not imported & SLOW


def test_settings_need_nothing_slow():
    code, _, imported = run("-c", "from maskrcnn_benchmark.config import cfg")
    assert code == 0
    assert not imported & SLOW


@pytest.mark.slow
def test_a_photo_needs_no_more_than_the_model_does(tmp_path):
    """The parts of PyTorch that compile take as long as all the rest of it."""
    weights, photo = tmp_path / "w.pth", tmp_path / "a.png"
    Image.new("RGB", (64, 48)).save(photo)
    make = (
        "import torch; from maskrcnn_benchmark.engine.forward import build_model; "
        "from maskrcnn_benchmark.engine.settings import load_settings; "
        f"model = build_model(load_settings({str(CONFIG)!r}), torch.device('cpu')); "
        f"torch.save({{'model': model.state_dict()}}, {str(weights)!r})"
    )
    assert run("-c", make)[0] == 0
    words = ["--config-file", CONFIG, "--input", photo, "--output", tmp_path / "drawn"]
    options = ["--weights", weights, "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "64"]
    code, output, imported = run(ROOT / "tools" / "demo.py", *words, *options)
    assert code == 0, output
    assert (tmp_path / "drawn" / "a.png").is_file()
    assert "torch" in imported
    assert not imported & {"matplotlib", "torchvision", "torch._dynamo", "sympy", "triton"}
