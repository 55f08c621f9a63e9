"""A training killed at any moment finds a complete checkpoint."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import nn

from maskrcnn_benchmark.weights.checkpoint import Checkpointer

SAVE_FOREVER = """
import sys, torch
from torch import nn
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
torch.manual_seed(0)
checkpointer = Checkpointer(nn.Linear(300, 1000), save_dir=sys.argv[1])
for iteration in range(10**6):
    checkpointer.save(f"model_{iteration % 3}", iteration=iteration)
"""


def _wait_for(path: Path, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the saving process ended by itself"
        assert time.monotonic() < end, "nothing was saved"
        time.sleep(0.01)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize(
    "delay", [0.05, *(pytest.param(0.02 * n, marks=pytest.mark.slow) for n in range(10))]
)
def test_a_killed_save_leaves_a_checkpoint_that_loads(delay: float, tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, str(tmp_path)])
    try:
        _wait_for(tmp_path / "last_checkpoint", process)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    checkpointer = Checkpointer(nn.Linear(300, 1000), save_dir=tmp_path)
    latest = Path(checkpointer.get_checkpoint_file())
    iteration = checkpointer.load()["iteration"]
    assert latest.name == f"model_{iteration % 3}.pth"
