"""What the words of a command line mean: photos, videos, cameras.

Imports no PyTorch, so that a tool can report a wrong path at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from centermask_runtime.photo_files import Photo, find_photos, matching_paths, photos_in
from maskrcnn_benchmark.config.errors import ConfigError

VIDEO_SUFFIXES: Final = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "wmv", "flv"),
        *("ts", "mts", "m2ts", "3gp", "ogv"),
    )
)


class Video(NamedTuple):
    """A video file, or the number of a camera, and where what is drawn on it goes."""

    source: Path | int
    target: Path


class Sources(NamedTuple):
    """All that is to be looked at."""

    photos: list[Photo]
    videos: list[Video]


def find_sources(words: Sequence[str], output: Path, option: str) -> Sources:
    """The photos and videos that the words name, none twice, with the places of their drawings.

    Args:
        words: files, folders that are searched with their subfolders, patterns ("clips/*"), or
            numbers of cameras, where no file has that name.
        output: folder of the drawings.
        option: what the words are called on the command line.

    Raises:
        ConfigError: there is no such path, nothing to look at in it, or a drawing would replace
            what it is drawn on, or another drawing.
    """
    photo_paths: list[Path] = []
    videos: dict[Path | int, Video] = {}
    for word in words:
        if word.isdecimal() and not Path(word).exists():
            videos[int(word)] = Video(int(word), output / f"camera{int(word)}.mp4")
            continue
        for path in matching_paths(Path(word).expanduser(), option):
            found = _videos_at(path, output)
            videos |= {video.source: video for video in found}
            if not found or (path.is_dir() and photos_in(path)):
                photo_paths.append(path)
    photos = find_photos(photo_paths, output, option)
    _check_targets(list(videos.values()))
    return Sources(photos, list(videos.values()))


def _videos_at(path: Path, output: Path) -> list[Video]:
    """The video itself, or those in a folder and below it, without drawings."""
    if not path.is_dir():
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        return [Video(path, output / f"{path.stem}.mp4")] if is_video else []
    return [
        Video(one, (output / one.relative_to(path)).with_suffix(".mp4"))
        for one in sorted(path.rglob("*"))
        if one.suffix.lower() in VIDEO_SUFFIXES and one.is_file() and one.name[0] != "."
        if output.resolve() not in one.resolve().parents or path.resolve() == output.resolve()
    ]


def _check_targets(videos: Sequence[Video]) -> None:
    taken: dict[Path, Path | int] = {}
    for source, target in videos:
        if target in taken:
            raise ConfigError(
                f"--output: the drawings of {taken[target]} and {source} would both be {target}; "
                "rename one of them"
            )
        taken[target] = source
        if isinstance(source, Path) and source.resolve() == target.resolve():
            raise ConfigError(f"--output: {target} would replace the video; choose another folder")
