"""Weight files from the net, kept in a local cache."""

import hashlib
import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlparse

from tqdm import tqdm

from maskrcnn_benchmark.utils.comm import is_main_process, synchronize
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.weights.load_report import CheckpointError

_SCHEMES = ("http", "https", "file")
_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20
# Names under which many different files are published; their folders tell them apart.
_COMMON_NAMES = ("model_final.pkl", "model_final.pth", "download")
_HASH = re.compile(r"-([0-9a-f]{6,64})\.")
_DATE = re.compile(r"(19|20)\d{6}")

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """The folder of cached files: ``$CENTERMASK_CACHE``, or ``~/.cache/centermask``."""
    return Path(os.environ.get("CENTERMASK_CACHE") or Path.home() / ".cache" / "centermask")


def cached_name(url: str) -> str:
    """The name that a URL's file gets in the cache.

    That is the part behind ``#`` if there is one, otherwise the last part of the path; names that
    many files share are joined with the names of their folders.

    Raises:
        CheckpointError: the URL names no file, or is not http, https or file.
    """
    parts = urlparse(url)
    if parts.scheme not in _SCHEMES:
        raise CheckpointError(f"{url}: expected a URL of {', '.join(_SCHEMES)}")
    path = unquote(parts.path)
    name = PurePosixPath(unquote(parts.fragment) or path).name
    if not parts.fragment and name in _COMMON_NAMES:
        name = parts.path.strip("/").replace("/", "_")
    if not name:
        raise CheckpointError(f"{url}: names no file; add one behind the URL, as in {url}#name.pth")
    return name


def cache_url(
    url: str, model_dir: str | os.PathLike[str] | None = None, progress: bool = True
) -> str:
    """Path of the cached file of a URL, which is downloaded first if it is not there.

    A file gets its final name only when it is complete and, if the name carries one
    (``resnet50-19c8e357.pth``: the start of its SHA-256), when the hash is right. In a distributed
    run every process must call this; the first one downloads.

    Args:
        url: ``http://``, ``https://`` or ``file://``; a ``#name.pth`` at its end names the file.
        model_dir: where to keep it, ``cache_dir()`` by default.
        progress: show a progress bar, if the terminal is one.

    Raises:
        CheckpointError: the file cannot be had, is incomplete, or has another hash.
    """
    path = Path(model_dir or cache_dir()) / cached_name(url)
    try:
        if is_main_process() and not path.exists():
            _download(url, path, progress)
    finally:
        synchronize()
    # On another machine of the same run, which shares no disk with the first.
    if not path.exists():
        _download(url, path, progress)
    if _promised_hash(path.name):
        _check_hash(path.name, _sha256(path), f"{path}: delete it; it")
    return str(path)


def _download(url: str, path: Path, progress: bool) -> None:
    logger.info("Downloading %s to %s", url, path)
    address = url.partition("#")[0]
    request = urllib.request.Request(address, headers={"User-Agent": "centermask"})
    try:
        with (
            urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response,
            atomic_write(path) as file,
        ):
            digest = _copy(response, file, path.name, progress)
            _check_hash(path.name, digest, f"{url}: the file that came")
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(_advice(url, path, _reason(error))) from error


def _copy(response: Any, file: IO[bytes], name: str, progress: bool) -> str:  # noqa: ANN401 - urllib's answer has no public type
    """SHA-256 of what was copied, in hexadecimal digits."""
    digest = hashlib.sha256()
    expected = response.headers.get("Content-Length")
    total = int(expected) if expected else None
    received = 0
    # disable=None: silent unless the terminal is one.
    with tqdm(
        total=total, unit="B", unit_scale=True, desc=name, disable=None if progress else True
    ) as bar:
        while chunk := response.read(_CHUNK_BYTES):
            if received == 0 and chunk.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
                raise OSError("the server sent a web page instead of the file")
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            bar.update(len(chunk))
    if total is not None and received != total:
        raise OSError(f"the connection broke after {received} of {total} bytes")
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _advice(url: str, path: Path, reason: str) -> str:
    return (
        f"cannot download {url}: {reason}. Several addresses of the first release are no longer "
        f"served; if you have the file from elsewhere, put it at {path}, or set MODEL.WEIGHT to "
        'its path (or to "" to start from random weights). ImageNet weights '
        "are also at catalog://torchvision/... and catalog://timm/..., "
        "as docs/checkpoints.md tells"
    )


def _promised_hash(name: str) -> str:
    """The start of the SHA-256 that a file name carries, ``""`` if it carries none."""
    found = _HASH.search(name)
    # Eight digits that make a date (model-20191224.pth) are not taken for a hash.
    return "" if found is None or _DATE.fullmatch(found[1]) else found[1]


def _check_hash(name: str, digest: str, subject: str) -> None:
    promised = _promised_hash(name)
    if not digest.startswith(promised):
        raise CheckpointError(
            f"{subject} is damaged or another one: its SHA-256 starts with "
            f"{digest[: len(promised)]}, its name promises {promised}"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
