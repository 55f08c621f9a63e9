"""Tell what this installation runs on: versions, devices, compiled operators.

The output belongs into a report of a fault.

For example:
  centermask env
"""

import sys
from collections.abc import Sequence

from maskrcnn_benchmark.cli.arguments import make_parser


def main(words: Sequence[str]) -> int:
    """The exit code, 0."""
    make_parser("env", __doc__).parse_args(words)
    # Only now, as PyTorch takes a second to import.
    from maskrcnn_benchmark.utils.collect_env import collect_env_info

    sys.stdout.write(f"{collect_env_info()}\n")
    return 0
