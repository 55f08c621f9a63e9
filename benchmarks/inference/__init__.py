"""Photos to masks: ``python -m benchmarks inference``."""
