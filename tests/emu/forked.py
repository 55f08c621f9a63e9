"""Tables in forks of one process: PyTorch is imported once, a broken kernel ends its fork alone.

python -m tests.emu.forked    takes lines of JSON: [words of table.py, file for what it prints]
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tests.emu.build import ROOT
from tests.emu.table import SECONDS, main


class ForkedTables:
    """The process; one table at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.emu.forked"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, words: Sequence[str], report: Path) -> tuple[int, str]:
        """What a table returned, negative where a signal ended it, and what it printed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([list(words), str(report)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()), report.read_text()

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def serve() -> None:
    """Run what comes in, until nothing more does."""
    for line in sys.stdin:
        words, report = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(words, report)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(words: Sequence[str], report: str) -> NoReturn:
    signal.alarm(SECONDS)
    file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    code = 1
    try:
        code = main(words)
    except Exception:  # noqa: BLE001 - whatever it is, it is reported
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
