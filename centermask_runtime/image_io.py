"""Reading photos of every common kind as 8-bit RGB."""

import io
import logging
import os
import struct
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from centermask_runtime.errors import ImageReadError

logger = logging.getLogger(__name__)

Photo: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any]"
"""What ``as_image`` takes."""

_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_TRANSPOSE_OF_ORIENTATION: Final = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
"""What makes an image upright, by its EXIF orientation."""
_ON_THE_SIDE: Final = frozenset({5, 6, 7, 8})

_MAX_16_BIT: Final = 65535
_STEPS_16_TO_8_BIT: Final = 257
"""65535 / 255: what one step of an 8-bit channel is worth in 16 bits."""

_JPEG_START: Final = b"\xff\xd8"
JPEG_END: Final = b"\xff\xd9"
_JPEG_NONSENSE: Final = bytes(range(1, 255)) * 64
_FEW_BYTES: Final = 64
_END_BYTES: Final = 4096
_MAX_LOST: Final = 0.05
"""Share of the rows of a JPEG that may be missing at its end."""
_LARGEST_BLOCK: Final = 16
"""Rows that a JPEG codes together at most."""

_BACKGROUND_RGBA: Final = (255, 255, 255, 255)
"""What shows through transparent pixels: white, as in most viewers."""


def read_image(
    path: str | os.PathLike[str] | BinaryIO,
    expected_wh: tuple[int, int] | None = None,
    needed_side: int | None = None,
    name: str = "",
) -> Image.Image:
    """The image in a file as an 8-bit RGB image, upright.

    Grayscale, palette, CMYK and other colour modes are converted; 16-bit channels are scaled to
    8 bits (65535 becomes 255); transparent pixels are laid on white. The EXIF orientation is
    applied, unless ``expected_wh`` says that the annotations were made on the pixels as stored. A
    file that lacks its last few bytes, as after a broken copy, is read with a warning.

    Args:
        path: a file that Pillow can read, or an open one.
        expected_wh: (width, height) that annotations were drawn on. Where the stored pixels alone
            have that size, they are taken as they are (COCO's annotations ignore the EXIF
            orientation); else the turned image must have it.
        needed_side: px of the shorter side that are enough: a larger JPEG is read at the smallest
            half, quarter or eighth of its size that has them. None: all of it.
        name: what messages call an open file.

    Raises:
        ImageReadError: the file is missing, corrupt, cut off, suspiciously large (Pillow's
            decompression bomb limit), holds pixels without a known range, or has another size
            than ``expected_wh``.
    """
    if isinstance(path, (str, os.PathLike)):
        name = os.fspath(path)
    try:
        try:
            rgb, full_wh, orientation = _decoded(path, name, needed_side)
        except OSError as error:
            if not _is_cut_off(error):
                raise
            rgb, full_wh, orientation = _decoded_without_end(path, name, needed_side, error)
            logger.warning("%s lacks its last bytes (%s); what is there was read", name, error)
    except FileNotFoundError:
        raise ImageReadError(f"no such image file: {name}") from None
    except UnidentifiedImageError:
        raise ImageReadError(
            f"cannot read the image {name}: not an image, or of a format that Pillow does not know"
        ) from None
    # Pillow's decoders let many unrelated types escape on damaged files.
    except Exception as error:
        reason = str(error).replace(name, "").strip() or type(error).__name__
        raise ImageReadError(f"cannot read the image {name}: {reason}") from error
    return _orient(rgb, full_wh, orientation, expected_wh, name)


def _decoded(
    source: str | os.PathLike[str] | BinaryIO, name: str, needed_side: int | None
) -> tuple[Image.Image, tuple[int, int], int]:
    """The pixels as RGB, (width, height) of all of the image, and its EXIF orientation."""
    with Image.open(source) as image:
        full_wh = image.size
        if needed_side is not None:
            image.draft(None, _reduced(full_wh, needed_side))
        image.load()
        # Nobody else has these pixels: a copy would need the memory of a large photo twice.
        rgb = image if _is_rgb(image) else _to_rgb(image)
        return rgb, full_wh, _orientation(image, name)


def _is_cut_off(error: OSError) -> bool:
    """Whether Pillow complains of a file that ends too early."""
    return "truncated" in str(error) or "could not create decoder" in str(error)


def _decoded_without_end(
    path: str | os.PathLike[str] | BinaryIO, name: str, needed_side: int | None, error: OSError
) -> tuple[Image.Image, tuple[int, int], int]:
    """As ``_decoded`` of a file whose last few bytes are missing.

    Raises:
        OSError: ``error``, if more is missing.
    """
    if isinstance(path, (str, os.PathLike)):
        content = Path(path).read_bytes()
    else:
        path.seek(0)
        content = path.read()
    if content.startswith(_JPEG_START):
        found = _decoded(io.BytesIO(content + JPEG_END), name, needed_side)
        # What the decoder makes up for missing data depends on what follows; what is there, not.
        other = _decoded(io.BytesIO(content + _JPEG_NONSENSE + JPEG_END), name, needed_side)
        differs = (np.asarray(found[0]) != np.asarray(other[0])).any(axis=(1, 2))
        num_lost = len(differs) - int(differs.argmax()) if differs.any() else 0
        if num_lost > max(_LARGEST_BLOCK, _MAX_LOST * len(differs)):
            raise error
        return found
    if content[8:12] == b"WEBP":
        missing = int.from_bytes(content[4:8], "little") + 8 - len(content)
        if missing > _FEW_BYTES:
            raise error
        content += bytes(max(missing, 0))
    else:
        content += bytes(_FEW_BYTES)
    return _decoded(io.BytesIO(content), name, needed_side)


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The (width, height) in px of the image that ``read_image`` reads; its pixels are not read.

    Raises:
        ImageReadError: the file is missing or no image.
    """
    name = os.fspath(path)
    try:
        with Image.open(name) as image:
            width, height = image.size
            return (height, width) if _orientation(image, name) in _ON_THE_SIDE else (width, height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageReadError(f"cannot read the size of the image {name}: {error}") from error


def look_at_image(path: str | os.PathLike[str], expected_wh: tuple[int, int] | None = None) -> None:
    """Raise what ``read_image`` would raise, as far as the two ends of a file tell.

    Raises:
        ImageReadError: the file is missing, no image, cut off, or of another size.
    """
    name = os.fspath(path)
    try:
        with Image.open(name) as image:
            _check_size(image.size, _orientation(image, name), expected_wh, name)
        has_end = not lacks_end(name)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        has_end = False
    if not has_end:  # Something may be wrong, or may be not, as behind the end of a video still.
        read_image(path, expected_wh)


def lacks_end(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a JPEG without the mark of its end in its last bytes."""
    with open(path, "rb") as file:
        is_jpeg = file.read(len(_JPEG_START)) == _JPEG_START
        file.seek(max(0, os.path.getsize(path) - _END_BYTES))
        return is_jpeg and JPEG_END not in file.read()


def has_uncertain_turn(path: str | os.PathLike[str]) -> bool:
    """Whether a photo has a note how to turn it, and the same size whether it is turned or not.

    Then nothing tells whether annotations were made on the turned photo; ``read_image`` turns it.

    Raises:
        ImageReadError: the file is missing or no image.
    """
    name = os.fspath(path)
    try:
        with Image.open(name) as image:
            orientation = _orientation(image, name)
            is_square = image.width == image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageReadError(f"cannot read the image {name}: {error}") from error
    is_turned = orientation in _TRANSPOSE_OF_ORIENTATION
    return is_turned and (is_square or orientation not in _ON_THE_SIDE)


def _reduced(size_wh: tuple[int, int], needed_side: int) -> tuple[int, int]:
    """The (width, height) of an image made smaller until its shorter side is just long enough."""
    shorter = max(min(size_wh), needed_side)
    width, height = (-(-side * needed_side // shorter) for side in size_wh)
    return width, height


def _orient(
    image: Image.Image,
    full_wh: tuple[int, int],
    orientation: int,
    expected_wh: tuple[int, int] | None,
    name: str,
) -> Image.Image:
    """The image, which may be a reduced one of a file of ``full_wh``, as annotations have it."""
    if _check_size(full_wh, orientation, expected_wh, name):
        return _turn(image, orientation)
    return image


def _check_size(
    full_wh: tuple[int, int], orientation: int, expected_wh: tuple[int, int] | None, name: str
) -> bool:
    """Whether annotations were made on the image as its EXIF note turns it.

    Where both have the same size, as squares and what is turned by 180 degrees, they are taken to
    be: all but the oldest tools show photos so.

    Raises:
        ImageReadError: annotations were made on another size.
    """
    upright_wh = full_wh[::-1] if orientation in _ON_THE_SIDE else full_wh
    if expected_wh is None or upright_wh == tuple(expected_wh):
        return True
    if full_wh == tuple(expected_wh):
        return False
    raise ImageReadError(
        f"the image {name} is {full_wh[0]} x {full_wh[1]} px (width x height), but its "
        f"annotations say {expected_wh[0]} x {expected_wh[1]}"
    )


def _orientation(image: Image.Image, name: str) -> int:
    """The EXIF orientation tag, 1 (upright) where there is none or its block is damaged."""
    try:
        orientation: int = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    except (struct.error, SyntaxError, ValueError, TypeError, LookupError, OSError) as error:
        logger.warning("%s: the EXIF block is damaged (%s); taken as upright", name, error)
        return _UPRIGHT
    return orientation


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned as an EXIF orientation tag asks; unknown values change nothing."""
    method = _TRANSPOSE_OF_ORIENTATION.get(orientation)
    return image if method is None else image.transpose(method)


def _is_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def _to_rgb(image: Image.Image) -> Image.Image:
    if _is_rgb(image):
        return image.copy()
    if image.mode.startswith("I"):
        return _from_16_bit(image).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, _BACKGROUND_RGBA)
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """A 16-bit grayscale image as an 8-bit one."""
    values: np.ndarray[Any, np.dtype[np.int64]] = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > _MAX_16_BIT):
        raise ValueError(f"pixels must lie in 0..{_MAX_16_BIT}, not {values.min()}..{values.max()}")
    rounded = (values + _STEPS_16_TO_8_BIT // 2) // _STEPS_16_TO_8_BIT
    return Image.fromarray(rounded.astype(np.uint8))


def as_image(photo: Photo) -> Image.Image:
    """A photo of any kind as an 8-bit RGB image.

    Args:
        photo: the path of a file, read and turned upright by ``read_image``; a Pillow image, as it
            is; an array (H, W), (H, W, 3) or (H, W, 4), gray, RGB or RGBA, uint8 or uint16.

    Raises:
        ImageReadError: a file that cannot be read.
        TypeError: another kind of object.
        ValueError: an array of another shape or type, or without a pixel.
    """
    if isinstance(photo, (str, os.PathLike)):
        return read_image(photo)
    if isinstance(photo, Image.Image):
        return _to_rgb(photo)
    if isinstance(photo, np.ndarray):
        return _to_rgb(_image_of_array(photo))
    raise TypeError(
        f"photo: expected a path, a Pillow image or a NumPy array, got a {type(photo).__name__}"
    )


def _image_of_array(photo: np.ndarray[Any, Any]) -> Image.Image:
    if 0 in photo.shape:
        raise ValueError(f"photo: expected at least one pixel, got {photo.shape}")
    is_gray = photo.ndim == 2
    is_colour = photo.ndim == 3 and photo.shape[2] in (3, 4)
    if not (is_gray or is_colour) or photo.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            "photo: expected an array (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16, got "
            f"{photo.shape} {photo.dtype}"
        )
    if photo.dtype == np.uint16:
        half = _STEPS_16_TO_8_BIT // 2
        photo = ((photo.astype(np.uint32) + half) // _STEPS_16_TO_8_BIT).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(photo))
