"""One prepared run for a machine with a GPU: ``python -m benchmarks.gpu``."""
