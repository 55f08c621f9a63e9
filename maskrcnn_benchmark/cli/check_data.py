"""Look through annotated photos for what would go wrong in a training.

PATH is a folder or file in any common format, told by looking; each of its parts (train, val,
test) is gone through, every photo is read. Exit code 1 if something cannot be used.

For example:
  centermask check-data my_photos
  centermask check-data labels.json@photos
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from maskrcnn_benchmark.cli.arguments import make_parser


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("check-data", __doc__)
    parser.add_argument("data", metavar="PATH", help="annotated photos, or FILE@FOLDER")
    parser.add_argument("--format", default="", metavar="F", help="if looking does not tell")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 1 if something cannot be used."""
    args = parse_words(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    # Only now, as PyTorch takes a second to import.
    from maskrcnn_benchmark.data.check import check_source

    reports = check_source(args.data, args.format)
    for split, report in reports.items():
        sys.stdout.write(f"\n{args.data}, part {split}\n{report}\n")
    return 0 if all(report.is_fine for report in reports.values()) else 1
