"""Photos to draw on: found in folders and by patterns, each with the place of its drawing.

Imports no PyTorch, so that a tool can report a wrong path at once.
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from centermask_runtime.errors import ConfigError

_WRITTEN_SUFFIXES = {".png", ".jpg", ".jpeg"}
# Kinds of files that Pillow tells, but reads through other programs alone.
_RECOGNISED_ONLY = {"MPEG", "HDF5", "GRIB", "BUFR"}


class Photo(NamedTuple):
    """A file to draw on and where the drawing goes."""

    source: Path
    target: Path


def find_photos(sources: Sequence[Path], output: Path, option: str = "--input") -> list[Photo]:
    """The photos of files, folders and patterns, with the places of their drawings.

    Those of a folder or pattern are in order of their paths; none comes twice.

    Args:
        sources: files, folders that are searched with their subfolders for image files, patterns
            ("photos/*.jpg").
        output: folder of the drawings; photos in it are left out of a search.
        option: what the sources are called on the command line.

    Raises:
        ConfigError: there is no such path, no photo in it, or a drawing would replace its photo.
    """
    found = [photo for source in sources for photo in _find(source, output, option)]
    photos = list({photo.source: photo for photo in found}.values())
    _check_targets(photos, output)
    return photos


def is_image_file(name: str | Path) -> bool:
    """Whether a file is called like an image that Pillow reads; hidden files are not."""
    path = Path(name)
    kind = Image.registered_extensions().get(path.suffix.lower())
    return kind in Image.OPEN and kind not in _RECOGNISED_ONLY and path.name[0] != "."


def photos_in(folder: Path) -> list[Path]:
    """The image files in a folder and in those below it, sorted by path."""
    return sorted(path for path in folder.rglob("*") if is_image_file(path) and path.is_file())


def matching_paths(source: Path, option: str) -> list[Path]:
    """The path itself, or else the files that fit it as a pattern, or the folders if no file does.

    Args:
        source: a path, or a pattern such as ``photos/*.jpg``, whose ``**`` are any folders.
        option: what it is called on the command line.

    Raises:
        ConfigError: there is nothing like it.
    """
    if source.exists():
        return [source]
    matches = [Path(match) for match in sorted(glob.glob(str(source), recursive=True))]
    if not matches:
        raise ConfigError(f"{option}: no such file or folder: {source}")
    return [match for match in matches if match.is_file()] or matches


def _find(source: Path, output: Path, option: str) -> Iterator[Photo]:
    for path in matching_paths(source, option):
        if path.is_dir():
            yield from _in_folder(path, output, option)
        else:
            yield Photo(path, output / _drawing_name(Path(path.name)))


def _in_folder(source: Path, output: Path, option: str) -> list[Photo]:
    photos = [
        Photo(path, output / _drawing_name(path.relative_to(source))) for path in photos_in(source)
    ]
    if source.resolve() != output.resolve():
        photos = [one for one in photos if output.resolve() not in one.source.resolve().parents]
    if not photos:
        raise ConfigError(f"{option}: no image files in {source} or its subfolders")
    return photos


def _check_targets(photos: Sequence[Photo], output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output: {output} is a file; name a folder")
    taken: dict[Path, Path] = {}
    for photo in photos:
        if photo.target in taken:
            raise ConfigError(
                f"--output: the drawings of {taken[photo.target]} and {photo.source} would both be "
                f"{photo.target}; rename one of them"
            )
        taken[photo.target] = photo.source
        if photo.source.resolve() == photo.target.resolve():
            raise ConfigError(
                f"--output: {photo.target} would replace the photo; choose another folder"
            )


def _drawing_name(name: Path) -> Path:
    """The photo's own name if PNG or JPEG, which can be written; else with .png after it."""
    if name.suffix.lower() in _WRITTEN_SUFFIXES:
        return name
    return name.with_name(f"{name.name}.png")
