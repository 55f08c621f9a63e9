"""What a format of annotations is, and what its reader builds: content of COCO's structure."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.image_io import read_size

AnyPath: TypeAlias = "str | os.PathLike[str]"
Reader: TypeAlias = Callable[[AnyPath, AnyPath], Mapping[str, Any]]
"""(Annotation file or folder, folder of the images) -> content of COCO's structure."""

WHOLE: Final = "all"
TRAIN: Final = "train"
VAL: Final = "val"
TEST: Final = "test"
SPLIT_OF_NAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), TRAIN),
        **dict.fromkeys(("val", "valid", "validation"), VAL),
        **dict.fromkeys(("test", "testing"), TEST),
    }
)
"""What folders and files of a split are called -> the split."""

_PHOTO_SUFFIXES: Final = frozenset(
    (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_ELLIPSE_POINTS: Final = 64


class Part(NamedTuple):
    """Where the annotations and photos of one split lie.

    Attributes:
        annotations: what the reader takes, a file or a folder.
        images: the folder that the file names of photos start from.
        reader: reads them.
    """

    annotations: Path
    images: Path
    reader: Reader


class AnnotationFormat(NamedTuple):
    """One way of writing annotations down.

    Attributes:
        name: as in the settings and on the command line.
        title: what people call it, and what such data look like.
        read: reads one file or folder of it.
        find: a file or folder -> its parts by split (``TRAIN``, ``VAL``, ``TEST``, or ``WHOLE`` for
            data that are not split); nothing unless it holds this format.
        has_classes: whether it says what objects are; one that does is preferred.
        is_file: whether a file is of this format, if one file holds all annotations.
    """

    name: str
    title: str
    read: Reader
    find: Callable[[Path], dict[str, Part]]
    has_classes: bool = True
    is_file: Callable[[Path], bool] | None = None


class ContentBuilder:
    """Builds content of COCO's structure.

    Args:
        names: the categories in the order of their ids; None collects those that objects have and
            numbers them from 1 in alphabetical order.
        first_id: id of the first of ``names``.
    """

    def __init__(self, names: Sequence[str] | None = None, first_id: int = 1) -> None:
        self._names = names
        self._first_id = first_id
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    @property
    def num_categories(self) -> int:
        """How many ``names`` there are."""
        return len(self._names or ())

    def add_image(self, file_name: str, size_wh: tuple[int, int]) -> None:
        """Add a photo; the objects that follow are in it.

        Args:
            file_name: from the folder of the images on.
            size_wh: px.
        """
        width, height = size_wh
        image = {"id": len(self._images) + 1, "file_name": file_name}
        self._images.append({**image, "width": width, "height": height})

    def add_photo(self, photo: Path, root: Path) -> tuple[int, int] | None:
        """Add a photo in its own size (width, height; px), which is returned.

        None of a photo that cannot be read. It is added as one of a pixel: whoever looks at the
        photos tells of it with all others. No objects may follow.

        Args:
            photo: its file.
            root: folder of the images.
        """
        try:
            size_wh = read_size(photo)
        except ImageReadError:
            size_wh = None
        self.add_image(relative_name(photo, root), size_wh or (1, 1))
        return size_wh

    def add_polygons(
        self, category: str | int, polygons: Sequence[Sequence[float]], *, is_crowd: bool = False
    ) -> None:
        """Add an object that polygons outline; none without a point.

        Args:
            category: its name, or its place among ``names``.
            polygons: x and y in turn, px of the photo.
            is_crowd: whether it is a group that cannot be told apart.
        """
        xs = [x for polygon in polygons for x in polygon[::2]]
        ys = [y for polygon in polygons for y in polygon[1::2]]
        if xs and ys:
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            self._add(category, box, is_crowd, [list(polygon) for polygon in polygons])

    def add_mask(
        self,
        category: str | int,
        mask: np.ndarray[Any, np.dtype[np.bool_]],
        *,
        is_crowd: bool = False,
    ) -> None:
        """Add an object by its pixels; none without a pixel.

        Args:
            category: its name, or its place among ``names``.
            mask: (H, W) of the photo.
            is_crowd: whether it is a group that cannot be told apart.
        """
        if not mask.any():
            return
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        box = coco_mask.toBbox(rle).tolist()
        self._add(category, box, is_crowd, {**rle, "counts": rle["counts"].decode("ascii")})

    def add_box(
        self, category: str | int, box_xywh: Sequence[float], *, is_crowd: bool = False
    ) -> None:
        """Add an object of which only the box is known.

        Args:
            category: its name, or its place among ``names``.
            box_xywh: px of the photo.
            is_crowd: whether it is a group that cannot be told apart.
        """
        self._add(category, list(box_xywh), is_crowd, None)

    def content(self) -> dict[str, Any]:
        """All that was added, as content of COCO's structure."""
        names = self._names
        if names is None:
            names = sorted({annotation["category_id"] for annotation in self._annotations})
        ids = {name: number for number, name in enumerate(names, start=self._first_id)}
        for annotation in self._annotations:
            category = annotation["category_id"]
            if isinstance(category, str):
                annotation["category_id"] = ids[category]
            else:
                annotation["category_id"] = self._first_id + category
        return {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": number, "name": name} for number, name in enumerate(names, self._first_id)
            ],
        }

    def _add(
        self,
        category: str | int,
        box: list[float],
        is_crowd: bool,
        segmentation: list[list[float]] | dict[str, Any] | None,
    ) -> None:
        annotation: dict[str, Any] = {
            "id": len(self._annotations) + 1,
            "image_id": len(self._images),
            "category_id": category,
            "bbox": box,
            "iscrowd": int(is_crowd),
        }
        if segmentation is not None:
            annotation["segmentation"] = segmentation
        self._annotations.append(annotation)


def is_photo(path: Path) -> bool:
    """Whether a file is called like a photo."""
    return path.suffix.lower() in _PHOTO_SUFFIXES and not path.name.startswith(".")


def photos_below(folder: Path) -> Iterator[Path]:
    """The photos in a folder and in the folders in it, sorted by path."""
    found = (path for path in folder.rglob("*") if is_photo(path) and path.is_file())
    return iter(sorted(found))


def find_photo(folders: Iterable[Path], written: str) -> Path | None:
    """The photo that a file of annotations names, or None.

    Tools write the path of the machine they ran on, with slashes of its system: the path is looked
    for in each folder as it is, then by its name alone, then with the suffix of any photo.

    Args:
        folders: where to look.
        written: as the annotations name it.
    """
    relative = written.replace("\\", "/")
    name = relative.rsplit("/", 1)[-1]
    places = list(folders)
    for candidate in (relative, name):
        for folder in places:
            if (folder / candidate).is_file():
                return folder / candidate
    for folder in places:
        for suffix in sorted(_PHOTO_SUFFIXES):
            for path in (folder / f"{name}{suffix}", (folder / name).with_suffix(suffix)):
                if path.is_file():
                    return path
    return None


def relative_name(path: Path, root: Path) -> str:
    """The path of a photo from the folder of the images on, with "/"."""
    return Path(os.path.relpath(path, root)).as_posix()


def ellipse_polygon(
    center: tuple[float, float], radii: tuple[float, float], angle: float = 0.0
) -> list[float]:
    """A polygon of an ellipse, x and y in turn.

    Args:
        center: (x, y), px.
        radii: px, along x and y before it is turned.
        angle: by which it is turned, radians, from x to y.
    """
    steps = np.arange(_ELLIPSE_POINTS) * (2 * np.pi / _ELLIPSE_POINTS)
    along, across = radii[0] * np.cos(steps), radii[1] * np.sin(steps)
    xs = center[0] + along * np.cos(angle) - across * np.sin(angle)
    ys = center[1] + along * np.sin(angle) + across * np.cos(angle)
    return np.stack([xs, ys], axis=1).ravel().tolist()


def rectangle_polygon(corners: Sequence[float]) -> list[float]:
    """The four corners of a rectangle, x and y in turn, of two opposite ones (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = corners
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def read_index_map(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The value of every pixel (H, W) of an image of indices; colours become one number each.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            # Upright, as the photo is; the indices of a palette are what counts, not its colours.
            values: np.ndarray[Any, np.dtype[np.int64]] = np.asarray(
                ImageOps.exif_transpose(image)
            ).astype(np.int64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read the masks {path}: {error}") from error
    if values.ndim == 3:
        weights = np.array([1, 256, 65536, 0])[: values.shape[2]]
        values = (values * weights).sum(axis=2)
    return values
