"""``python -m benchmarks [ops | loading | inference]``: the operators, or what is named."""

import sys

from benchmarks import loading, ops
from benchmarks.inference import run

BENCHMARKS = {"ops": ops.main, "loading": loading.main, "inference": run.main}

# Processes that are spawned import this file, too.
if __name__ == "__main__":
    named = len(sys.argv) > 1 and sys.argv[1] in BENCHMARKS
    BENCHMARKS[sys.argv.pop(1) if named else "ops"]()
