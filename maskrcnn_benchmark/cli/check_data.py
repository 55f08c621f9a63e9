"""Look through annotated photos for what would go wrong in a training.

PATH is a folder or file in any common format, told by looking; each of its parts (train, val,
test) is gone through, every photo is read. What is told: errors (cannot be used), warnings (likely
to be a mistake) and notes. Exit code 1 if there is an error.

--sheet draws the photos with the worst. --fix writes a copy without what cannot be used, in COCO's
format, and changes.txt, which lists every change; what is given is never changed.

For example:
  centermask check-data my_photos
  centermask check-data train.json@photos --val val.json@photos --sheet worst.jpg
  centermask check-data my_photos --fix clean_photos
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from maskrcnn_benchmark.cli.arguments import make_parser

_PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = make_parser("check-data", __doc__)
    add = parser.add_argument
    add("data", metavar="PATH", help="annotated photos, or FILE@FOLDER")
    add("--val", default="", metavar="PATH", help="others to validate on, compared with them")
    add("--format", default="", metavar="F", help="if looking does not tell")
    add("--sheet", type=Path, metavar="FILE", help="draw the worst photos into a picture")
    add("--fix", type=Path, metavar="DIR", help="write a cleaned copy to a new folder")
    args = parser.parse_args(words)
    if args.sheet and args.sheet.suffix.lower() not in _PICTURES:
        parser.error(f"--sheet: expected a name that ends in {', '.join(_PICTURES)}")
    if args.fix and args.fix.exists() and (args.fix.is_file() or any(args.fix.iterdir())):
        parser.error(f"--fix: expected a new or empty folder, got {args.fix}")
    return args


def main(words: Sequence[str]) -> int:
    """The exit code: 0, or 1 if something cannot be used."""
    args = parse_words(words)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", stream=sys.stdout)
    # Only now, as PyTorch takes a second to import.
    from maskrcnn_benchmark.data.formats import VAL
    from maskrcnn_benchmark.data.inspection.clean import clean_part, write_clean_copy
    from maskrcnn_benchmark.data.inspection.source import inspect_source
    from maskrcnn_benchmark.visualization.findings_sheet import draw_findings

    parts = inspect_source(args.data, args.format, args.val)
    for split, part in parts.items():
        told = "".join(f"{finding}\n" for finding in part.report.findings)
        source = args.val if args.val and split == VAL else args.data
        sys.stdout.write(f"\n{source}, part {split}\n{part.report}\n{told}")
    if args.sheet:
        pictures = [(part.dataset, part.report.findings) for part in parts.values()]
        num_drawn = draw_findings(pictures, args.sheet)
        sys.stdout.write(f"\nDrew {num_drawn} photos in {args.sheet}\n")
    if args.fix:
        clean = {
            split: clean_part(part.dataset, part.root, part.report.findings)
            for split, part in parts.items()
        }
        changes = write_clean_copy(clean, args.fix)
        sys.stdout.write(f"\nWrote a clean copy to {args.fix}; {changes} lists what changed\n")
    findings = [finding for part in parts.values() for finding in part.report.findings]
    num_warnings = sum(finding.severity == "warning" for finding in findings)
    is_fine = all(part.report.is_fine for part in parts.values())
    verdict = "Nothing found that cannot be used" if is_fine else "There are errors"
    plural = "" if num_warnings == 1 else "s"
    sys.stdout.write(f"\n{verdict}; {num_warnings} warning{plural}\n")
    return 0 if is_fine else 1
