"""YOLO's texts: one file a photo, one object a line, in fractions of the photo's sides.

Source: the layout that YOLO trainers document: a YAML file with "names" and the folders of the
splits; labels lie in a folder "labels" beside "images", or beside the photos.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import (
    SPLIT_OF_NAME,
    AnnotationFormat,
    AnyPath,
    ContentBuilder,
    Part,
    photos_below,
)
from maskrcnn_benchmark.data.formats.sniff import split_folders

_NAMES_FILE: Final = "classes.txt"
_BOX_NUMBERS: Final = 4
_MIN_POLYGON_NUMBERS: Final = 6


def read_yolo(
    annotations: AnyPath, images: AnyPath, photos: Sequence[Path] | None = None
) -> Mapping[str, Any]:
    """Content of the labels of photos; categories have YOLO's numbers, from 0.

    A line is a class and the corners of an outline, or a class and a box (centre, width, height);
    a photo without a file of labels has no object.

    Args:
        annotations: the YAML file, or a text with the name of a class in each line.
        images: folder that file names start from.
        photos: which photos; None takes all below ``images``.

    Raises:
        DatasetError: a file cannot be read, or a line is not as it must be.
    """
    builder = ContentBuilder(_class_names(Path(annotations)), first_id=0)
    root = Path(images)
    for photo in photos_below(root) if photos is None else photos:
        size_wh = builder.add_photo(photo, root)
        if size_wh is None:
            continue
        labels = _labels_of(photo)
        for number, line in enumerate(_lines(labels) if labels else (), start=1):
            if line.strip():
                _add_object(builder, line.split(), size_wh, f"{labels}, line {number}")
    return builder.content()


def _add_object(
    builder: ContentBuilder, words: Sequence[str], size_wh: tuple[int, int], where: str
) -> None:
    try:
        label, *numbers = map(float, words)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from None
    if label not in range(builder.num_categories):
        last = builder.num_categories - 1
        raise DatasetError(f"{where}: expected a class in 0..{last}, not {words[0]}")
    scaled = [value * size_wh[place % 2] for place, value in enumerate(numbers)]
    if len(numbers) == _BOX_NUMBERS:
        x, y, width, height = scaled
        builder.add_box(int(label), [x - width / 2, y - height / 2, width, height])
    elif len(numbers) >= _MIN_POLYGON_NUMBERS and len(numbers) % 2 == 0:
        builder.add_polygons(int(label), [scaled])
    else:
        raise DatasetError(
            f"{where}: expected a class and x y of at least three corners, or a class and a box of "
            f"four numbers, not {len(words)} numbers"
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the labels {path}: {error}") from error


def _labels_of(photo: Path) -> Path | None:
    """The file of labels of a photo; None if it has none."""
    beside = photo.with_suffix(".txt")
    parts = list(beside.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            candidate = Path(*parts[:place], "labels", *parts[place + 1 :])
            if candidate.is_file():
                return candidate
    return beside if beside.is_file() else None


def _class_names(path: Path) -> list[str]:
    if path.suffix == ".txt":
        return [line.strip() for line in _lines(path) if line.strip()]
    names = _read_yaml(path).get("names")
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{path}: 'names' must list the classes, not {names!r:.80}")
    return [str(name) for name in names]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    return content if isinstance(content, dict) else {}


def find_yolo(path: Path) -> dict[str, Part]:
    """The parts of a YAML file, of a folder with one, or of one with labels and classes.txt."""
    candidates = [path] if path.is_file() else sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    for file in candidates:
        if file.suffix in (".yaml", ".yml") and "names" in _read_yaml(file):
            return _parts_of_yaml(file)
    folders = [path, path / "labels"]
    names = next((f / _NAMES_FILE for f in folders if (f / _NAMES_FILE).is_file()), None)
    if names is None or not any(path.rglob("*.txt")):
        return {}
    images = path / "images" if (path / "images").is_dir() else path
    return {split: Part(names, folder, read_yolo) for split, folder in split_folders(images)}


def _parts_of_yaml(file: Path) -> dict[str, Part]:
    content = _read_yaml(file)
    base = file.parent / str(content.get("path") or "")
    if not base.is_dir():  # the path of another machine
        base = file.parent
    parts = {}
    for key, split in SPLIT_OF_NAME.items():
        value = content.get(key)
        if not value or split in parts:
            continue
        sources = [_find(file, base, str(source)) for source in _as_list(value)]
        if None in sources:  # often named, and not downloaded
            continue
        places = [source for source in sources if source is not None]
        if len(places) == 1 and places[0].is_dir():
            parts[split] = Part(file, places[0], read_yolo)
        else:
            photos = [photo for place in places for photo in _photos_of(place, base)]
            parts[split] = Part(file, base, partial(read_yolo, photos=photos))
    if not parts:
        raise DatasetError(f"{file}: none of the folders that it names under train and val is here")
    return parts


def _as_list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _find(file: Path, base: Path, source: str) -> Path | None:
    """The folder or list of photos; exports write it relative to a folder that is not there."""
    trimmed = source.replace("\\", "/")
    while trimmed.startswith("../"):
        trimmed = trimmed.removeprefix("../")
    candidates = (base / source, file.parent / source, base / trimmed, file.parent / trimmed)
    return next((path for path in candidates if path.exists()), None)


def _photos_of(place: Path, base: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from photos_below(place)
        return
    for line in _lines(place):
        if line.strip():
            yield place.parent / line.strip() if line.startswith("./") else base / line.strip()


YOLO = AnnotationFormat(
    name="yolo",
    title="YOLO texts (data.yaml with images/ and labels/; outlines or boxes)",
    read=read_yolo,
    find=find_yolo,
)
