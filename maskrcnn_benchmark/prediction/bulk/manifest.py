"""What a set of results is of, so that a run goes on only with what is the same."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.prediction.bulk.result_files import ResultFiles
from maskrcnn_benchmark.utils.files import write_json

logger = logging.getLogger(__name__)

Manifest = Mapping[str, Any]

_MAX_SHOWN: Final = 80
_BLOCK: Final = 2**20


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def claim(files: ResultFiles, manifest: Manifest, *, is_resumed: bool) -> None:
    """Make sure that results at a place may be added to, and write down what they are of.

    Args:
        files: the place.
        manifest: what is to be written there, of JSON's types.
        is_resumed: whether results that are there already are meant to be added to.

    Raises:
        ConfigError: there are results, and they are of something else, or not meant.
    """
    path, present = files.manifest_path, files.existing()
    if not path.exists() and present:
        raise ConfigError(
            f"--output: {present[0]} exists, and {path.name}, which says what it is of, does not; "
            "choose another name"
        )
    if path.exists():
        if not is_resumed:
            raise ConfigError(
                f"--output: {present[0] if present else path} exists; --resume goes on with it; "
                "else choose another name, or remove it"
            )
        _compare(path, manifest)
        return
    # Several processes may come here at once: they write the same.
    write_json(path, {"version": __version__, **manifest}, indent=1)


def _compare(path: Path, manifest: Manifest) -> None:
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        former = None
    if not isinstance(former, dict):
        raise ConfigError(f"--output: {path} is damaged; choose another name")
    version = former.pop("version", None)
    if version != __version__:
        logger.warning("%s was begun by version %s, this is %s", path, version, __version__)
    # Through JSON, which has no tuples.
    changes = list(_differences(former, json.loads(json.dumps(dict(manifest))), ""))
    if changes:
        raise ConfigError(
            f"--output: the results there are of something else ({path}):\n"
            + "".join(f"  {change}\n" for change in changes)
            + "Give what was given before, or choose another name"
        )


def _differences(former: Any, now: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(former, dict) and isinstance(now, dict):
        for key in sorted({*former, *now}):
            yield from _differences(former.get(key), now.get(key), f"{name}.{key}".strip("."))
    elif former != now:
        yield f"{name}: it was {_shown(former)}, now it is {_shown(now)}"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
