"""Run lengths of binary images as COCO has them: column after column, the first run of zeros.

Shapes: K images, L run lengths of all of them; w, h of a part.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.int64]


def encode_part(x0: int, y0: int, columns: NDArray[Any], image_wh: tuple[int, int]) -> bytes:
    """COCO's compressed counts of the image in which the part's pixels are set.

    Args:
        x0: image column of the part's first column.
        y0: image row of the part's first row.
        columns: (w, h) the part transposed; all but 0 is set.
        image_wh: width and height of the image.
    """
    return encode_parts([(x0, y0, columns)], image_wh)[0]


def encode_parts(
    parts: Iterable[tuple[int, int, NDArray[Any]]], image_wh: tuple[int, int]
) -> list[bytes]:
    """Those of one image for each part, as ``encode_part`` takes it; parts are seen one by one."""
    width, height = image_wh
    changes = [_changes(x0, y0, columns, height) for x0, y0, columns in parts]
    if not changes:
        return []
    counts, sizes = _counts(changes, width * height)
    return compressed(counts, sizes)


def _changes(x0: int, y0: int, columns: NDArray[Any], height: int) -> Integers:
    """Where runs begin and end, in turn, in an image of this height; none crosses columns."""
    num_columns, rows = columns.shape
    # One 0 before each column and one at the end keep runs of neighbouring columns apart,
    # whatever lies above and below the part in the image.
    framed = np.zeros(num_columns * (rows + 1) + 1, dtype=np.bool_)
    framed[:-1].reshape(num_columns, rows + 1)[:, 1:] = columns
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    column = changes // (rows + 1)
    found: Integers = changes + column * (height - rows - 1) + (x0 * height + y0)
    return found


def _counts(changes: list[Integers], num_pixels: int) -> tuple[Integers, Integers]:
    """Run lengths (L,) of all images, one after the other, and how many (K,) each has."""
    num_runs = np.array([len(each) // 2 for each in changes])
    image = np.repeat(np.arange(len(changes)), num_runs)
    starts, ends = np.concatenate(changes).reshape(-1, 2).T
    # A run to the image's bottom goes on at the top of the next column.
    goes_on = np.flatnonzero((ends[:-1] == starts[1:]) & (image[:-1] == image[1:]))
    num_runs -= np.bincount(image[goes_on], minlength=len(changes))
    lasts = np.cumsum(2 * num_runs + 2) - 1
    firsts = lasts - 2 * num_runs - 1
    bounds = np.empty(lasts[-1] + 1, dtype=np.int64)
    bounds[firsts], bounds[lasts] = 0, num_pixels
    is_inside = np.ones(len(bounds), dtype=np.bool_)
    is_inside[firsts] = is_inside[lasts] = False
    bounds[is_inside] = np.stack(
        [np.delete(starts, goes_on + 1), np.delete(ends, goes_on)], axis=1
    ).ravel()
    counts = np.diff(bounds, append=0)
    # No zeros follow a run to the end; and nothing lies between two images.
    has_rest = (num_runs == 0) | (counts[lasts - 1] > 0)
    is_count = np.ones(len(bounds), dtype=np.bool_)
    is_count[lasts] = False
    is_count[lasts - 1] = has_rest
    return counts[is_count], 2 * num_runs + has_rest


def compressed(counts: Integers, sizes: Integers) -> list[bytes]:
    """COCO's text of the run lengths (L,) of images that have so many (K,) of them.

    From the fourth count on it has the difference to the last but one; five bits a character from
    the lowest on, a sixth says that more follow, the last one carries the sign.
    """
    ends = np.cumsum(sizes)
    place = np.arange(len(counts)) - np.repeat(ends - sizes, sizes)
    rest = counts.copy()
    rest[3:] -= np.where(place[3:] > 2, counts[1:-2], 0)
    more = np.ones(len(rest), dtype=np.bool_)
    characters, present = [], []
    while more.any():
        present.append(more)
        bits = rest & 0x1F
        rest >>= 5
        more = more & (rest != np.where(bits & 0x10, -1, 0))
        characters.append((48 + bits + 0x20 * more).astype(np.uint8))
    is_present = np.stack(present, axis=1)
    text = np.stack(characters, axis=1)[is_present].tobytes()
    bounds = np.append(0, np.cumsum(is_present.sum(axis=1)))[np.append(0, ends)].tolist()
    return [text[start:stop] for start, stop in pairwise(bounds)]
