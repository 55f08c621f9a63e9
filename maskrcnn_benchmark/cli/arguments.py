"""What the sub-commands have in common: their parsers, and settings on the command line."""

import argparse
import re
from collections.abc import Sequence
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
    return parser.parse_intermixed_args(list(words))


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that are no settings, and the settings that follow them."""
    first = next((i for i, word in enumerate(words) if _KEY.fullmatch(word)), len(words))
    return list(words[:first]), list(words[first:])
