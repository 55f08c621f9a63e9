"""``python -m benchmarks [ops | loading]``: the operators, or what is named."""

import sys

from benchmarks import loading, ops

BENCHMARKS = {"ops": ops.main, "loading": loading.main}

named = len(sys.argv) > 1 and sys.argv[1] in BENCHMARKS
BENCHMARKS[sys.argv.pop(1) if named else "ops"]()
