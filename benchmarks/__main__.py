"""``python -m benchmarks``: the operators."""

from benchmarks.ops import main

main()
