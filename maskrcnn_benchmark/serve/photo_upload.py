"""The photo in a request, read within limits."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from maskrcnn_benchmark.data.errors import ImageReadError
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.serve.limits import Limits

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""What is taken, if this Pillow has it. It knows more, some of which start other programs."""

_MAX_FIELDS: Final = 16

Receive = Callable[[], Awaitable[Any]]


async def receive_photo(request: Request, limits: Limits, path: Path) -> None:
    """Write the photo of a request to ``path``: the one file of a form, or the whole body.

    Raises:
        HTTPException: 413, too many bytes; 400, no photo, several or half a one.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limits.num_bytes:
        raise _too_large(limits)
    limited = Request(request.scope, _limited(request.receive, limits))
    with path.open("wb") as target:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with limited.form(max_files=1, max_fields=_MAX_FIELDS) as form:
                files = [value for value in form.values() if isinstance(value, UploadFile)]
                if not files:
                    raise HTTPException(400, "the form has no file: send the photo as one")
                shutil.copyfileobj(files[0].file, target)
        else:
            async for chunk in limited.stream():
                target.write(chunk)
    if not path.stat().st_size:
        raise HTTPException(400, "no photo: the request is empty")


def decode_photo(path: Path, limits: Limits) -> Image.Image:
    """The photo in a file as an upright RGB image.

    Raises:
        HTTPException: 415, it is no image of a kind that is taken, or damaged; 413, it has too
            many pixels.
    """
    Image.init()
    formats = tuple(one for one in FORMATS if one in Image.OPEN)
    try:
        with Image.open(path, formats=formats) as image:
            width, height = image.size
    except UnidentifiedImageError:
        raise HTTPException(415, f"not an image; expected one of {', '.join(formats)}") from None
    except Image.DecompressionBombError:
        raise HTTPException(413, _too_many_pixels("far too many", limits)) from None
    # Pillow's decoders let many unrelated types escape on damaged files.
    except Exception as error:
        raise HTTPException(415, f"cannot read the image: {error}") from error
    if width * height > limits.num_pixels:
        raise HTTPException(413, _too_many_pixels(f"{width} x {height}", limits))
    try:
        return read_image(path)
    except ImageReadError as error:
        raise HTTPException(415, str(error).replace(f" {path}", "")) from error


def _too_many_pixels(number: str, limits: Limits) -> str:
    return f"the photo has {number} pixels; at most {limits.num_pixels} are taken"


def _too_large(limits: Limits) -> HTTPException:
    return HTTPException(
        413, f"the request is too large: at most {limits.num_bytes} bytes are taken"
    )


def _limited(receive: Receive, limits: Limits) -> Receive:
    """The same messages, as long as their bodies are not too large together."""
    received = 0

    async def receive_counted() -> Any:  # noqa: ANN401 - a message of the server
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limits.num_bytes:
            raise _too_large(limits)
        return message

    return receive_counted
