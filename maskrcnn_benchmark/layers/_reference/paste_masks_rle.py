"""NumPy twin of the operator that pastes masks into run lengths; it encodes with pycocotools.

Shape symbols: N masks, M their side; h, w of a box's visible part.
"""

from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskrcnn_benchmark.layers._reference.checks import check_dtype, check_range, check_shape
from maskrcnn_benchmark.layers.mask_resize import VisiblePart, visible_parts

# COCO's run lengths are 32-bit numbers.
_MOST_PIXELS = 2**32 - 1
_MOST_PADDING = 2**12


def paste_masks_rle(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float, padding: int
) -> tuple[Tensor, Tensor]:
    """COCO's texts joined, uint8, and where each begins (and the last ends), (N + 1,) int64.

    Args:
        masks: (N, M, M) float32 probabilities.
        boxes: (N, 4) float32 px, xyxy inclusive.
        height: of the image.
        width: of the image.
        threshold: pixels above it are 1.
        padding: zeros put around each mask; its box grows in proportion.
    """
    _check(masks, boxes, height, width, padding)
    image_wh = (width, height)
    texts = [
        _encode(part, part.columns > threshold, image_wh)
        for part in visible_parts(masks, boxes, image_wh, padding)
    ]
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    characters = np.frombuffer(b"".join(texts), dtype=np.uint8).copy()
    return (
        torch.from_numpy(characters).to(masks.device),
        torch.from_numpy(offsets).to(masks.device),
    )


def _check(masks: Tensor, boxes: Tensor, height: int, width: int, padding: int) -> None:
    check_shape("masks", masks, (None, None, None))
    check_shape("masks", masks, (None, None, masks.shape[1]))
    check_dtype("masks", masks, torch.float32)
    check_shape("boxes", boxes, (len(masks), 4))
    check_dtype("boxes", boxes, torch.float32)
    if not torch.isfinite(boxes).all():
        raise ValueError("boxes: expected finite numbers")
    if masks.shape[0] and not masks.shape[1]:
        raise ValueError("masks: expected at least one pixel")
    if min(height, width) < 0 or height * width > _MOST_PIXELS:
        wanted = f"at most {_MOST_PIXELS} pixels"
        raise ValueError(f"height and width: expected {wanted}, got {height} x {width}")
    check_range("padding", padding, 0, _MOST_PADDING)


def _encode(part: VisiblePart, pixels: NDArray[np.bool_], image_wh: tuple[int, int]) -> bytes:
    """COCO's compressed counts of the image in which the part's pixels (w, h) are set."""
    width, height = image_wh
    columns, rows = pixels.shape
    # RLE runs go down the columns. One 0 before each column and one at the end keep runs of
    # neighbouring columns apart, whatever lies above and below the part in the image.
    framed = np.zeros(columns * (rows + 1) + 1, dtype=np.bool_)
    framed[:-1].reshape(columns, rows + 1)[:, 1:] = pixels
    changes = np.flatnonzero(framed[1:] != framed[:-1])
    column, row = np.divmod(changes, rows + 1)
    position = (part.x0 + column) * height + part.y0 + row
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
    rle: dict[str, Any] = mask_utils.frPyObjects(
        {"size": [height, width], "counts": counts}, height, width
    )
    text: bytes = rle["counts"]
    return text
