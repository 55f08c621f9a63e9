"""Masks pasted into run lengths; the twin is in NumPy.

Shape symbols: N masks, M their side; h, w of a box's visible part.
"""

import numpy as np
import torch
from torch import Tensor

from centermask_runtime.masks import visible_parts
from centermask_runtime.run_lengths import encode_part
from maskrcnn_benchmark.layers._ops.checks import check_dtype, check_range, check_shape
from maskrcnn_benchmark.layers._ops.operator import Operator
from maskrcnn_benchmark.layers.mask_resize import as_array, check_finite

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
        encode_part(part.x0, part.y0, part.columns > threshold, image_wh)
        for part in visible_parts(as_array(masks), as_array(boxes), image_wh, padding)
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
    check_finite(boxes)
    if masks.shape[0] and not masks.shape[1]:
        raise ValueError("masks: expected at least one pixel")
    if min(height, width) < 0 or height * width > _MOST_PIXELS:
        wanted = f"at most {_MOST_PIXELS} pixels"
        raise ValueError(f"height and width: expected {wanted}, got {height} x {width}")
    check_range("padding", padding, 0, _MOST_PADDING)


def _fake(masks: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    num_characters = torch.library.get_ctx().new_dynamic_size()
    characters = masks.new_empty(num_characters, dtype=torch.uint8)
    return characters, masks.new_empty(masks.shape[0] + 1, dtype=torch.int64)


OPERATORS = (
    Operator(
        name="paste_masks_rle",
        schema=(
            "(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold,"
            " int padding) -> (Tensor, Tensor)"
        ),
        reference=paste_masks_rle,
        fake=_fake,
        in_float32=True,
    ),
)
