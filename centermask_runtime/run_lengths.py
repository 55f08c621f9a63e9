"""Run lengths of a binary image as COCO has them: column after column, the first run of zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_part(x0: int, y0: int, columns: NDArray[Any], image_wh: tuple[int, int]) -> bytes:
    """COCO's compressed counts of the image in which the part's pixels are set.

    Args:
        x0: image column of the part's first column.
        y0: image row of the part's first row.
        columns: (w, h) the part transposed; all but 0 is set.
        image_wh: width and height of the image.
    """
    width, height = image_wh
    num_columns, rows = columns.shape
    # RLE runs go down the columns. One 0 before each column and one at the end keep runs of
    # neighbouring columns apart, whatever lies above and below the part in the image.
    framed = np.zeros(num_columns * (rows + 1) + 1, dtype=np.bool_)
    framed[:-1].reshape(num_columns, rows + 1)[:, 1:] = columns
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    column, row = np.divmod(changes, rows + 1)
    position = (x0 + column) * height + y0 + row
    starts, ends = position[0::2], position[1::2]
    # A run to the image's bottom goes on at the top of the next column.
    joined = np.flatnonzero(ends[:-1] == starts[1:])
    bounds = np.empty(2 * (len(starts) - len(joined)) + 2, dtype=np.int64)
    bounds[0], bounds[-1] = 0, width * height
    bounds[1:-1:2] = np.delete(starts, joined + 1)
    bounds[2:-1:2] = np.delete(ends, joined)
    counts = np.diff(bounds)
    if counts[-1] == 0 and len(counts) > 1:
        counts = counts[:-1]
    return compressed(counts)


def compressed(counts: NDArray[np.int64]) -> bytes:
    """COCO's text of run lengths.

    From the fourth count on it has the difference to the last but one; five bits a character from
    the lowest on, a sixth says that more follow, the last one carries the sign.
    """
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    more = np.ones(len(rest), dtype=np.bool_)
    characters, present = [], []
    while more.any():
        present.append(more)
        bits = rest & 0x1F
        rest >>= 5
        more = more & (rest != np.where(bits & 0x10, -1, 0))
        characters.append((48 + bits + 0x20 * more).astype(np.uint8))
    text: bytes = np.stack(characters, axis=1)[np.stack(present, axis=1)].tobytes()
    return text
