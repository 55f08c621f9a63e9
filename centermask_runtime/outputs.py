"""What is kept of each picture: a drawing, COCO results, instance masks, crops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from PIL import Image

from centermask_runtime.detections import BoolArray, DetectedObject
from centermask_runtime.errors import ConfigError
from centermask_runtime.files import as_file_name, atomic_write
from centermask_runtime.masks import RLE
from centermask_runtime.results import ResultFile


class Found(Protocol):
    """What a model found on a photo, in px of it."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the photo."""
        ...

    @property
    def names(self) -> list[str]:
        """The name of each object's class."""
        ...

    @property
    def has_masks(self) -> bool:
        """Whether the model gives masks."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[DetectedObject]: ...

    def above(self, score_threshold: float) -> Found:
        """The objects that score at least this, best first."""
        ...

    def draw(self, photo: Image.Image, font: str | None = None) -> Image.Image:
        """A copy of the photo with the objects drawn on it."""
        ...

    def encode(self) -> list[RLE]:
        """The masks as COCO run lengths of the photo; none of a model without masks."""
        ...

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """One COCO result an object."""
        ...


Detect: TypeAlias = Callable[[Image.Image], Found]
"""Gives what is found on an RGB photo, in px of it."""

RESULTS: Final = "predictions.json"
MASKS: Final = "masks"
CROPS: Final = "crops"

_MAX_8_BIT: Final = 255
_JPEG_SUFFIXES: Final = frozenset({".jpg", ".jpeg"})
_JPEG_QUALITY: Final = 95


class Picture(NamedTuple):
    """A photo, or a frame of a video.

    Attributes:
        file_name: of the photo or video, in results.
        name: path, without a suffix, of what is kept of it in the folders of each kind.
        image: RGB.
        frame: its number, from 0; None of a photo.
    """

    file_name: str
    name: Path
    image: Image.Image
    frame: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Draws, and keeps what it is asked to keep.

    Attributes:
        folder: where everything goes.
        score_threshold: what scores less is left out everywhere.
        font: a font file for names; None finds one.
        masks: write ``masks/NAME.png``: pixels of the k-th object, best first, are k, others 0.
        crops: write ``crops/CLASS/NAME_k.png``: the object alone, on transparent ground.
        results: takes COCO results; None if they are not asked for.
    """

    folder: Path
    score_threshold: float
    font: str | None
    masks: bool
    crops: bool
    results: ResultFile | None

    def keep(self, picture: Picture, found: Found) -> Found:
        """The detections shown, after their masks, crops and results were kept.

        Raises:
            ConfigError: masks are asked for, of a model that has none.
        """
        shown = found.above(self.score_threshold)
        if self.results is not None:
            self.results.add(picture.file_name, shown, picture.frame)
        if self.masks and not found.has_masks:
            raise ConfigError("--save-masks: this model finds boxes, and no masks")
        if self.masks:
            path = self.folder / MASKS / picture.name
            _save_png(instance_image(shown), path.with_name(f"{path.name}.png"))
        if self.crops:
            self._save_crops(picture, shown)
        return shown

    def draw(self, picture: Picture, shown: Found) -> Image.Image:
        """A copy of the picture with the detections drawn on it."""
        return shown.draw(picture.image, self.font)

    def _save_crops(self, picture: Picture, shown: Found) -> None:
        for number, found in enumerate(shown, start=1):
            crop = cut_out(picture.image, found.box, found.mask)
            if crop is not None:
                folder = self.folder / CROPS / as_file_name(found.name) / picture.name.parent
                _save_png(crop, folder / f"{picture.name.name}_{number}.png")


def instance_image(shown: Found) -> Image.Image:
    """Of the size of the photo: pixels of the k-th object are k, those of none are 0.

    Where objects overlap, the earlier one is in front. 8 bits a pixel, or 16 from 256 objects on.
    """
    kind = np.uint8 if len(shown) <= _MAX_8_BIT else np.uint16
    pixels = np.zeros(shown.size[::-1], dtype=kind)
    parts = [found.part for found in shown]
    for number, part in reversed(list(enumerate(parts, start=1))):
        if part is not None:
            height, width = part.mask.shape
            region = pixels[part.y0 : part.y0 + height, part.x0 : part.x0 + width]
            region[part.mask > 0] = number
    return Image.fromarray(pixels)


def cut_out(
    image: Image.Image,
    box: tuple[float, float, float, float],
    mask: BoolArray | None,
) -> Image.Image | None:
    """The part of an image in a box, transparent outside the mask if there is one (RGBA).

    None if the box, of px with inclusive corners, lies outside the image.
    """
    left, top = (max(0, int(value)) for value in box[:2])
    right, bottom = (
        min(side, int(value) + 1) for value, side in zip(box[2:], image.size, strict=True)
    )
    if left >= right or top >= bottom:
        return None
    crop = image.crop((left, top, right, bottom))
    if mask is not None:
        alpha = mask[top:bottom, left:right].astype(np.uint8) * 255
        crop.putalpha(Image.fromarray(alpha))
    return crop


def save_drawing(drawing: Image.Image, path: Path) -> None:
    """Write the drawing, as a JPEG or PNG by the suffix of ``path``."""
    is_jpeg = path.suffix.lower() in _JPEG_SUFFIXES
    with atomic_write(path) as file:
        if is_jpeg:
            drawing.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        else:
            drawing.save(file, "PNG")


def told(found: Found) -> str:
    """How many of which class, or that it is nothing."""
    counts = Counter(found.names).items()
    return ", ".join(f"{count} {name}" for name, count in counts) or "nothing"


def _save_png(image: Image.Image, path: Path) -> None:
    with atomic_write(path) as file:
        image.save(file, "PNG")
