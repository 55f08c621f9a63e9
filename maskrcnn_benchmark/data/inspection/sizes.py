"""Sizes of photos that annotations do not say, or say the wrong way round."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_benchmark.data.errors import ImageReadError
from maskrcnn_benchmark.data.image_io import look_at_image, read_size
from maskrcnn_benchmark.data.inspection.findings import ERROR, MENDED, Finding, Place
from maskrcnn_benchmark.data.inspection.ids import Mended


def mend_sizes(content: Mapping[str, Any], root: str | os.PathLike[str]) -> Mended:
    """The content with the sizes of photos where none are given, or width and height exchanged.

    Photos that cannot be read, or have another size altogether, stay as they are.

    Args:
        content: of COCO's structure, unchecked.
        root: folder of the photos.
    """
    images, unknown, exchanged = [], [], []
    given = content.get("images")
    if not (isinstance(given, list) and all(isinstance(entry, dict) for entry in given)):
        return Mended(dict(content), [])
    for entry in given:
        size_wh = (entry.get("width"), entry.get("height"))
        name = entry.get("file_name")
        if isinstance(name, str):
            path = Path(root) / name
            if not all(isinstance(side, (int, float)) and side > 0 for side in size_wh):
                size_wh = _size_of(path)
                unknown.append(Place(name))
            elif not _fits(path, size_wh) and _fits(path, size_wh[::-1]):
                size_wh = size_wh[::-1]
                exchanged.append(Place(name))
        images.append({**entry, "width": size_wh[0], "height": size_wh[1]})
    findings = [
        Finding(ERROR, "photos without a size in their annotations", tuple(unknown), "", MENDED),
        Finding(ERROR, "photos whose width and height are exchanged", tuple(exchanged), "", MENDED),
    ]
    told = [finding for finding in findings if finding.places]
    return Mended({**content, "images": images} if told else dict(content), told)


def _size_of(path: Path) -> tuple[Any, Any]:
    try:
        return read_size(path)
    except ImageReadError:
        return (None, None)


def _fits(path: Path, size_wh: tuple[int, int]) -> bool:
    """Whether a photo can be read in a size, as far as the ends of its file tell."""
    try:
        look_at_image(path, size_wh)
    except ImageReadError:
        return False
    return True
