"""Data sets that are named by their path: a folder or file of annotated photos, in any format.

``PATH``, ``FILE@FOLDER`` (annotations and the folder of their photos), either with ``#train``,
``#val``, ``#test`` or ``#all`` behind it for a certain part.
"""

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from maskrcnn_benchmark.data.datasets.readers import PartReader
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats import (
    FORMATS,
    SPLIT_OF_NAME,
    TEST,
    TRAIN,
    VAL,
    WHOLE,
    AnnotationFormat,
    Part,
    find_format,
    part_of_content,
    recognise,
)

logger = logging.getLogger(__name__)

_SPLIT_OF_WORD: Final = MappingProxyType({**SPLIT_OF_NAME, WHOLE: WHOLE})
_PARTS: Final = ", ".join(dict.fromkeys(_SPLIT_OF_WORD.values()))


class Source(NamedTuple):
    """A data set's name, taken apart.

    Attributes:
        path: of the annotations, or of everything.
        images: folder of the photos; None looks for it.
        split: the part that is wanted; "" leaves it to the use.
    """

    path: Path
    images: Path | None
    split: str

    @classmethod
    def parse(cls, name: str) -> "Source | None":
        """What a name says; None if it names no file or folder that is here.

        Raises:
            DatasetError: what stands behind ``#`` is the name of no part.
        """
        place, _, word = name.rpartition("#")
        part = cls._of_place(place)
        if part is not None and word in _SPLIT_OF_WORD:
            return part._replace(split=_SPLIT_OF_WORD[word])
        whole = cls._of_place(name)
        if whole is None and part is not None:
            raise DatasetError(f"{name}: no part is called {word!r}, only {_PARTS}")
        return whole

    @classmethod
    def _of_place(cls, place: str) -> "Source | None":
        if place and os.path.exists(os.path.expanduser(place)):
            return cls(Path(place).expanduser(), None, "")
        path, at, images = place.rpartition("@")
        if at and os.path.exists(os.path.expanduser(path)):
            return cls(Path(path).expanduser(), Path(images).expanduser(), "")
        return None

    def same_data(self, other: "Source") -> bool:
        """Whether both are of the same files, however their paths are written."""
        mine, theirs = (
            [os.path.realpath(path) for path in (one.path, one.images) if path is not None]
            for one in (self, other)
        )
        return mine == theirs


def full_name(name: str) -> str:
    """The name of the same data from whatever folder; that of a catalog as it is."""
    source = Source.parse(name)
    if source is None:
        return name
    images = "" if source.images is None else f"@{source.images.absolute()}"
    return f"{source.path.absolute()}{images}" + (f"#{source.split}" if source.split else "")


def find_part(source: Source, *, is_train: bool, is_shared: bool, format_name: str = "") -> Part:
    """The part of a source that is trained on, or tested on.

    Data without a validation part are divided by photo where both uses name them: a fifth of the
    photos is kept for validation, always the same.

    Args:
        source: which data, and perhaps which part of them.
        is_train: the use.
        is_shared: whether the other use names the same data.
        format_name: as in ``recognise``.

    Raises:
        DatasetError: the data are of no known format, or have no such part.
    """
    parts = _parts(source, format_name)
    if source.split:
        return _named_part(source, parts)
    wanted = TRAIN if is_train else VAL
    base = parts.get(TRAIN, parts.get(WHOLE))
    if VAL not in parts and is_shared and base is not None:
        return _divided(source, base, wanted)
    order = (TRAIN, WHOLE) if is_train else (VAL, TEST, WHOLE)
    for split in order:
        if split in parts:
            return parts[split]
    raise DatasetError(
        f"{source.path} has no {wanted} part, only {', '.join(parts)}; name one: "
        f"{source.path}#{next(iter(parts))}"
    )


def find_parts(name: str, format_name: str = "") -> Mapping[str, Part]:
    """All parts of the data that a name stands for, by split; the one it names if it names one.

    Raises:
        DatasetError: there is no such path, or the data are of no known format.
    """
    source = _parsed(name)
    parts = _parts(source, format_name)
    return {source.split: _named_part(source, parts)} if source.split else parts


def find_pair(train: str, val: str, format_name: str = "") -> Mapping[str, Part]:
    """What DATASETS.TRAIN and DATASETS.TEST would take of two paths, by split.

    Raises:
        DatasetError: there is no such path, or the data are of no known format, or have no such
            part.
    """
    names = {TRAIN: train, VAL: val}
    sources = {split: _parsed(name) for split, name in names.items()}
    both = sources[TRAIN].same_data(sources[VAL])
    is_shared = both and not (sources[TRAIN].split or sources[VAL].split)
    return {
        split: find_part(
            source, is_train=split == TRAIN, is_shared=is_shared, format_name=format_name
        )
        for split, source in sources.items()
    }


def _parsed(name: str) -> Source:
    source = Source.parse(name)
    if source is None:
        raise DatasetError(f"no such file or folder of annotated photos: {name}")
    return source


def _parts(source: Source, format_name: str) -> Mapping[str, Part]:
    if source.images is None:
        return recognise(source.path, format_name).parts
    if not source.images.is_dir():
        raise DatasetError(f"no such folder of photos: {source.images}")
    form = find_format(format_name) if format_name else _format_of(source.path)
    return {WHOLE: Part(source.path, source.images, form.read)}


def _format_of(path: Path) -> AnnotationFormat:
    """The format of annotations whose photos lie elsewhere."""
    found = (form for form in FORMATS if form.is_file is not None and form.is_file(path))
    return next(found, None) or recognise(path).format


def _named_part(source: Source, parts: Mapping[str, Part]) -> Part:
    if source.split in parts:
        return parts[source.split]
    if source.split in (TRAIN, VAL) and WHOLE in parts:
        return _divided(source, parts[WHOLE], source.split)
    if source.split == WHOLE and len(parts) == 1:
        return next(iter(parts.values()))
    raise DatasetError(f"{source.path} has no part {source.split!r}, only {', '.join(parts)}")


def _divided(source: Source, base: Part, split: str) -> Part:
    logger.info(
        "%s has no validation part: a fifth of its photos is kept for validation, chosen by their "
        "names; this is the %s part",
        source.path,
        split,
    )
    return base._replace(reader=PartReader(base.reader, split, part_of_content))


def catalog_entry(
    name: str, others: Collection[str], *, is_train: bool, format_name: str = ""
) -> dict[str, Any] | None:
    """What a catalog would say of a data set that is named by its path; None if no such path.

    Args:
        name: as in DATASETS.TRAIN or DATASETS.TEST.
        others: the names of the other list.
        is_train: whether it is of DATASETS.TRAIN.
        format_name: as in ``recognise``.

    Raises:
        DatasetError: the data are of no known format, or have no such part.
    """
    source = Source.parse(name)
    if source is None:
        return None
    elsewhere = [found for other in others if (found := Source.parse(other)) is not None]
    is_shared = any(source.same_data(other) and not other.split for other in elsewhere)
    part = find_part(source, is_train=is_train, is_shared=is_shared, format_name=format_name)
    args = {"root": str(part.images), "ann_file": str(part.annotations), "reader": part.reader}
    return {"factory": "COCODataset", "args": args}
