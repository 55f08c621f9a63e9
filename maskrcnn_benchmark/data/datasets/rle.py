"""COCO's run-length encoding of masks, checked before C code trusts it.

A mask is read column by column; the runs give the lengths of alternating stretches of 0 and 1,
beginning with 0. The compressed form writes each run (from the fourth on: its difference to the
run before the previous one) as characters of 5 bits, lowest first, in 48..111; bit 5 says that
more follow, bit 4 of the last is the sign.
Source: the format that COCO's annotations and pycocotools use.
"""

from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask

_FIRST_CHARACTER: Final = 48
_BITS: Final = 5
_MORE: Final = 1 << _BITS
_SIGN: Final = 1 << (_BITS - 1)
_MAX_CHARACTERS_A_RUN: Final = 7
"""Enough for any 32-bit length."""


def checked_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """The mask as a compressed RLE ``{"size": [height, width], "counts": str}``.

    Args:
        rle: ``{"size": [h, w], "counts": ...}`` with a list of run lengths or the compressed form
            (str or bytes).
        height: px of the image.
        width: px of the image.

    Raises:
        ValueError: another size, or counts that do not describe height * width pixels.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width]:
        raise ValueError(f"RLE of size {size} (h, w) in an image of {[height, width]}")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    if isinstance(counts, str):
        _check_runs(_decompressed(counts), height * width)
        return {"size": [height, width], "counts": counts}
    if not isinstance(counts, list):
        raise ValueError(f"RLE counts must be a list or a string, not {type(counts).__name__}")
    if not all(type(run) is int for run in counts):
        raise ValueError("RLE counts must be whole numbers")
    _check_runs(np.asarray(counts, dtype=np.int64), height * width)
    return compressed_rle({"size": [height, width], "counts": counts}, height, width)


def compressed_rle(
    segmentation: dict[str, Any] | list[list[float]], height: int, width: int
) -> dict[str, Any]:
    """One compressed RLE, with counts as text, of a checked RLE or of polygons together.

    Args:
        segmentation: an RLE with a list of runs, or flat polygons in px.
        height: px of the image.
        width: px of the image.
    """
    encoded = coco_mask.frPyObjects(segmentation, height, width)
    if isinstance(encoded, list):
        encoded = coco_mask.merge(encoded)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def _check_runs(runs: np.ndarray[Any, np.dtype[np.int64]], num_pixels: int) -> None:
    if runs.size and runs.min() < 0:
        raise ValueError("RLE with a negative run")
    if runs.sum() != num_pixels:
        raise ValueError(f"RLE of {runs.sum()} pixels in an image of {num_pixels}")


def _decompressed(counts: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Run lengths of compressed counts."""
    values = (
        np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    )
    if values.size == 0:
        return values
    if values.min() < 0 or values.max() >= 2 * _MORE or values[-1] & _MORE:
        raise ValueError("compressed RLE counts are damaged")
    ends = np.flatnonzero((values & _MORE) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MAX_CHARACTERS_A_RUN:
        raise ValueError("compressed RLE counts are damaged")
    shifts = _BITS * (np.arange(values.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((values & (_MORE - 1)) << shifts, starts)
    runs -= np.where(values[ends] & _SIGN, np.int64(1) << (_BITS * lengths), 0)
    # The run at 3 refers to the one at 1, the run at 4 to the one at 2, and so on.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
