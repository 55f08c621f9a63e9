"""``python -m benchmarks [NAME]``: the operators, or what is named in ``MODULES``."""

import sys
from importlib import import_module

from maskrcnn_benchmark.utils.processor import prepare_process

MODULES = {
    "ops": "benchmarks.ops",
    "annotations": "benchmarks.annotations",
    "loading": "benchmarks.loading",
    "inference": "benchmarks.inference.run",
    "training": "benchmarks.training",
}

# Processes that are spawned import this file, too.
if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in MODULES else "ops"
    if name in ("inference", "training"):
        # As the commands do, before it imports PyTorch.
        prepare_process()
    import_module(MODULES[name]).main()
