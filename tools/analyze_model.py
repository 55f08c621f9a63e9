#!/usr/bin/env python3
"""Print the parameters and multiply-adds of models, part by part.

    python tools/analyze_model.py --config-file CONFIG [KEY VALUE ...]
    python tools/analyze_model.py --config-file CONFIG --input-size 608 1024
    python tools/analyze_model.py --zoo MODEL_ZOO.json

The multiply-adds (GFLOPs, as most papers count them) are for one image of MIN_SIZE_TEST x
MAX_SIZE_TEST px with as many boxes as a test hands to the heads at most. Weights are not read.
--zoo measures every model of a zoo file that has a configuration, and writes the numbers into it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_benchmark.engine.exits import plain_errors
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.utils.processor import prepare_process

# Imported where it is used, as PyTorch takes a second: wrong arguments are reported at once.
if TYPE_CHECKING:
    from maskrcnn_benchmark.engine.complexity import Complexity

ROOT = Path(__file__).resolve().parents[1]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="FILE", help="YAML file of settings")
    what.add_argument("--zoo", metavar="FILE", help="file of models to measure and complete")
    parser.add_argument(
        "--input-size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="padded image, px"
    )
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings after the file's"
    )
    return parser.parse_args(arguments)


def as_entry(complexity: "Complexity") -> dict[str, object]:
    """What a zoo file holds of a measured model."""
    return {
        "parameters": complexity.parameters,
        "multiply_adds": complexity.multiply_adds,
        "image_hw": list(complexity.image_hw),
    }


def measure_zoo(path: Path) -> None:
    """Write the numbers of every model with a configuration into the zoo file."""
    from maskrcnn_benchmark.engine.complexity import build_complexity
    from maskrcnn_benchmark.engine.progress import make_progress_bar

    zoo = json.loads(path.read_text(encoding="utf-8"))
    measured: dict[str, dict[str, object]] = {}
    rows = [row for row in zoo["models"] if row["config"]]
    with make_progress_bar(len(rows), desc="models") as bar:
        for row in rows:
            config = row["config"]
            if config not in measured:
                measured[config] = as_entry(build_complexity(load_settings(ROOT / config)))
            row["measured"] = measured[config]
            bar.update()
    with atomic_write(path) as file:
        file.write((json.dumps(zoo, indent=1, ensure_ascii=False) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print or write what the command line asks for."""
    args = parse_args(arguments)
    if args.zoo:
        measure_zoo(Path(args.zoo))
        return
    image_hw = tuple(args.input_size) if args.input_size else None
    settings = load_settings(args.config_file, args.opts)
    from maskrcnn_benchmark.engine.complexity import build_complexity

    print(build_complexity(settings, image_hw).table())


if __name__ == "__main__":
    prepare_process()
    with plain_errors():
        main()
