"""What the sub-commands have in common: their parsers, and settings on the command line."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_KEY: Final = re.compile(r"[A-Z][A-Z0-9]*(\.[A-Za-z0-9_]+)+|OUTPUT_DIR|SEED|PATHS_CATALOG")


def make_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of a sub-command's words; the description has paragraphs and examples."""
    return argparse.ArgumentParser(
        prog=f"centermask {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_settings(parser: argparse.ArgumentParser, positional: str = "opts") -> None:
    """Let settings be given at the end, as KEY VALUE pairs."""
    parser.add_argument(
        positional, nargs="*", metavar="KEY VALUE", help="settings, docs/config_reference.md"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Let the device be chosen."""
    parser.add_argument(
        "--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if there is one)"
    )


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The parsed words; options may stand before, between and behind the others."""
    args = parser.parse_intermixed_args(list(words))
    _check_pairs(parser, getattr(args, "opts", ()))
    return args


def take_settings(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Words that are no settings, and the settings behind them; the parser refuses wrong ones."""
    others, settings = split_settings(words)
    for word in others:
        if "." in word and not Path(word).exists() and _is_setting(word.upper()):
            parser.error(f"{word}: settings are written in capitals: {word.upper()}")
    _check_pairs(parser, settings)
    return others, settings


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that are no settings, and the settings that follow them."""
    first = next((i for i, word in enumerate(words) if _KEY.fullmatch(word)), len(words))
    return list(words[:first]), list(words[first:])


def _check_pairs(parser: argparse.ArgumentParser, settings: Sequence[str]) -> None:
    if len(settings) % 2:
        parser.error(f"settings come in pairs, KEY VALUE, got: {' '.join(settings)}")


def _is_setting(name: str) -> bool:
    # Only now, as help and most words do not need them.
    from maskrcnn_benchmark.config import get_default_config

    return any(name == known for known, _ in get_default_config().leaves())
