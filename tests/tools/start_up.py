"""Python processes, and what they import."""

import os
import re
import subprocess
import sys

from tests.contract.source_tree import ROOT

SLOW = {"torch", "torchvision", "numpy", "matplotlib", "cv2", "pycocotools", "hotcoco", "scipy"}
# Found in ``-X importtime``'s lines, which also prove that it was told anything at all.
_IMPORTED = re.compile(r"^import time:.*\| +(\S+)$", re.MULTILINE)


def run(*words):
    """Exit code, output and imported modules of a Python process."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    imported = set(_IMPORTED.findall(process.stderr))
    assert "argparse" in imported or "yacs.config" in imported
    return process.returncode, process.stdout + process.stderr, imported
