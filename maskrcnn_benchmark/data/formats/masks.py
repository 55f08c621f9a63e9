"""Masks as images: one image of instance numbers a photo, or one image an object."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import (
    AnnotationFormat,
    AnyPath,
    ContentBuilder,
    Part,
    is_photo,
    photos_below,
    read_index_map,
)
from maskrcnn_benchmark.data.formats.sniff import split_folders, subfolders

_ONLY_CLASS: Final = "object"
"""Images of masks say nothing of classes."""

_MASK_WORDS: Final = ("mask", "instance", "label", "annotation", "segmentation")
_MAX_INSTANCES: Final = 5000
_NUM_SAMPLES: Final = 20


def read_instance_images(annotations: AnyPath, images: AnyPath) -> Mapping[str, Any]:
    """Content of images in which each value but 0 is an object; all are of the class "object".

    Args:
        annotations: folder of the images of masks, called like their photos: "a.png" or
            "a_mask.png" belongs to "a.jpg".
        images: folder of the photos; those without an image of masks have no object.

    Raises:
        DatasetError: an image cannot be read, has another size than its photo, or has too many
            values for numbers of objects.
    """
    root, builder = Path(images), ContentBuilder([_ONLY_CLASS])
    masks = _masks_by_stem(Path(annotations))
    for photo in photos_below(root):
        size_wh = builder.add_photo(photo, root)
        path = masks.get(photo.stem)
        for mask in _instances(path, size_wh) if path and size_wh else ():
            builder.add_mask(0, mask)
    return builder.content()


def read_object_images(annotations: AnyPath, images: AnyPath) -> Mapping[str, Any]:
    """Content of folders with a photo in "images" and in "masks" one image an object.

    All are of the class "object"; pixels other than 0 belong to it.

    Args:
        annotations: the folder of these folders.
        images: folder that file names start from.

    Raises:
        DatasetError: an image cannot be read, or has another size than its photo.
    """
    root, builder = Path(images), ContentBuilder([_ONLY_CLASS])
    for folder in _object_folders(Path(annotations)):
        photo = next(photos_below(folder / "images"))
        size_wh = builder.add_photo(photo, root)
        if size_wh is None:
            continue
        for path in photos_below(folder / "masks"):
            builder.add_mask(0, _index_map(path, size_wh) != 0)
    return builder.content()


def _index_map(path: Path, size_wh: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    values = read_index_map(path)
    if values.shape != size_wh[::-1]:
        height, width = values.shape
        raise DatasetError(
            f"the masks {path} are {width} x {height} px, but their photo is {size_wh[0]} x "
            f"{size_wh[1]}"
        )
    return values


def _instances(
    path: Path, size_wh: tuple[int, int]
) -> Iterator[np.ndarray[Any, np.dtype[np.bool_]]]:
    values = _index_map(path, size_wh)
    numbers = [number for number in np.unique(values) if number != 0]
    if len(numbers) > _MAX_INSTANCES:
        raise DatasetError(
            f"the masks {path} have {len(numbers)} values: no numbers of objects (a JPEG file? Its "
            "compression changes them)"
        )
    for number in numbers:
        yield values == number


def _masks_by_stem(folder: Path) -> dict[str, Path]:
    """The stem of a photo -> its image of masks."""
    found = {}
    for path in photos_below(folder):
        words = path.stem.split("_")
        found[path.stem] = path
        for place in range(1, len(words)):
            if words[place].lower().startswith(_MASK_WORDS):
                found["_".join(words[:place])] = path
    return found


def find_instance_images(path: Path) -> dict[str, Part]:
    """The parts of a folder with a folder of photos and one of masks called like them."""
    parts = {}
    for split, folder in split_folders(path) if path.is_dir() else ():
        below = subfolders(folder)
        masks = [one for one in below if any(word in one.name.lower() for word in _MASK_WORDS)]
        for truth in masks:
            stems = _masks_by_stem(truth)
            for images in below:
                samples = [one for one in sorted(images.iterdir()) if is_photo(one)][:_NUM_SAMPLES]
                if images not in masks and any(photo.stem in stems for photo in samples):
                    parts[split] = Part(truth, images, read_instance_images)
    return parts


def _object_folders(folder: Path) -> Iterator[Path]:
    for below in subfolders(folder):
        photos = list(photos_below(below / "images"))
        if len(photos) == 1 and (below / "masks").is_dir():
            yield below


def find_object_images(path: Path) -> dict[str, Part]:
    """The parts of a folder of folders, each with a photo in "images" and objects in "masks"."""
    if not path.is_dir():
        return {}
    return {
        split: Part(folder, folder, read_object_images)
        for split, folder in split_folders(path)
        if next(_object_folders(folder), None) is not None
    }


INSTANCE_IMAGES = AnnotationFormat(
    name="instance-images",
    title="images of instance numbers (Penn-Fudan)",
    read=read_instance_images,
    find=find_instance_images,
    has_classes=False,
)
OBJECT_IMAGES = AnnotationFormat(
    name="object-images",
    title="one image of a mask an object (Data Science Bowl 2018)",
    read=read_object_images,
    find=find_object_images,
    has_classes=False,
)
