"""COCO's JSON, as COCO itself and labelling tools lay it out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from maskrcnn_benchmark.data.datasets.coco_json import read_coco_json
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.data.formats.format import AnnotationFormat, AnyPath, Part, find_photo
from maskrcnn_benchmark.data.formats.sniff import (
    first_file_names,
    mentions,
    one_of_each_split,
    split_of,
    subfolders,
)

_NUM_SAMPLES: Final = 5
_OF_IMAGE: Final = ("id", "file_name")
_PLAIN_KINDS: Final = ("captions", "image_info", "person_keypoints", "panoptic", "stuff")
"""What COCO's other files begin with, which lie beside those of instances."""


def read_coco(annotations: AnyPath, images: AnyPath) -> Mapping[str, Any]:
    """The content of a JSON file, with names of photos that are below ``images``.

    Labelling tools write paths of the machine they ran on, and Roboflow a category 0 that only
    groups the others; paths are made to fit, and that category is left out while nothing uses it.

    Args:
        annotations: the file.
        images: folder of the photos.

    Raises:
        DatasetError: the file cannot be read, or is no JSON object.
    """
    content = read_coco_json(annotations)
    root = Path(images)
    entries = content.get("images")
    if isinstance(entries, list):
        content["images"] = [_with_found_photo(entry, root) for entry in entries]
    if isinstance(content.get("categories"), list):
        content["categories"] = _without_group(content)
    return content


class ListedImage(NamedTuple):
    """An image that a COCO file lists.

    Attributes:
        id: as there.
        path: of its file, which may be missing.
    """

    id: int
    path: Path


def list_images(annotations: Path, images: Path | None) -> Iterator[ListedImage]:
    """The images that a JSON file lists, in its order; it needs no annotations and no categories.

    Args:
        annotations: the file.
        images: folder of the photos; None looks for it around the file.

    Raises:
        DatasetError: the file lists no images, an entry has no id or name, or there is no such
            folder.
    """
    entries = read_coco_json(annotations).get("images")
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f'{annotations}: expected COCO JSON with a list "images", found none')
    root = _images_of(annotations) if images is None else images
    if not root.is_dir():
        raise DatasetError(f"no such folder of photos: {root}")
    for place, entry in enumerate(entries):
        image = _with_found_photo(entry, root)
        number, name = (image.get(key) if isinstance(image, dict) else None for key in _OF_IMAGE)
        if type(number) is not int or not isinstance(name, str):
            raise DatasetError(
                f'{annotations}: images[{place}]: expected an "id" (a whole number) and a '
                f'"file_name", got {str(entry)[:80]}'
            )
        yield ListedImage(number, root / name)


def _with_found_photo(image: Any, root: Path) -> Any:  # noqa: ANN401 - of a file, unchecked
    name = image.get("file_name") if isinstance(image, dict) else None
    if not isinstance(name, str) or (root / name).is_file():
        return image
    found = find_photo([root], name)
    return image if found is None else {**image, "file_name": found.relative_to(root).as_posix()}


def _without_group(content: Mapping[str, Any]) -> list[Any]:
    """The categories without one of id 0 that is the others' supercategory and has no object."""
    categories = content["categories"]
    if not all(isinstance(category, dict) for category in categories):
        return list(categories)
    groups = {category.get("supercategory") for category in categories if category.get("id") != 0}
    annotations = content.get("annotations") or ()
    used = any(isinstance(one, dict) and one.get("category_id") == 0 for one in annotations)
    return [
        category
        for category in categories
        if used or category.get("id") != 0 or category.get("name") not in groups
    ]


def find_coco(path: Path) -> dict[str, Part]:
    """The parts of a JSON file or of a folder with such files.

    Files lie in the folder, in its folder "annotations", or in those of the splits.

    Raises:
        DatasetError: two files could be the same part, or the photos of one are not to be found.
    """
    if path.is_file():
        files, base = [path], path.parent
    else:
        files = [
            file for folder in (path, *subfolders(path)) for file in sorted(folder.glob("*.json"))
        ]
        base = path
    files = [file for file in files if _is_coco(file)]
    instances = [file for file in files if not file.name.startswith(_PLAIN_KINDS)]
    files = instances or files
    found = [(split_of(file, base), file, _images_of(file)) for file in files]
    return one_of_each_split(found, read_coco, "annotation files")


def _is_coco(file: Path) -> bool:
    return mentions(file, "images", "categories", "file_name")


def _images_of(file: Path) -> Path:
    """The folder that holds the first photos that a file names, or else some of them."""
    names = first_file_names(file, _NUM_SAMPLES)
    near = [file.parent, file.parent / "images", file.parent.parent, file.parent.parent / "images"]
    candidates = [*near, *(below for folder in near for below in subfolders(folder))]
    # Folders of the same split first: photos of several splits may have the same names.
    ordered = sorted(candidates, key=lambda folder: not _same_split(file, folder))
    for is_there in (_as_written, _by_name):
        for folder in ordered:
            if all(is_there(folder, name) for name in names):
                return folder
    # Some may be missing, which is told of each when photos are looked at.
    for is_there in (_as_written, _by_name):
        for folder in ordered:
            if any(is_there(folder, name) for name in names):
                return folder
    raise DatasetError(
        f"the photos that {file} names ({', '.join(names[:2])} ...) are in none of the folders "
        f"around it; name their folder: {file}@FOLDER"
    )


def _same_split(file: Path, folder: Path) -> bool:
    base = file.parent.parent
    return folder.is_relative_to(base) and split_of(file, base) == split_of(folder, base)


def _as_written(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _by_name(folder: Path, name: str) -> bool:
    return find_photo([folder], name) is not None


COCO = AnnotationFormat(
    name="coco",
    title="COCO JSON (COCO, Roboflow, CVAT, Label Studio, labelme2coco)",
    read=read_coco,
    find=find_coco,
    is_file=_is_coco,
)
