"""Boxes as offsets from reference boxes, the regression targets of two-stage detectors.

Shapes: K boxes, C classes.
Frame: boxes are xyxy, with inclusive corners unless a pixel offset says otherwise.
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET

MAX_LOG_SCALE: Final = math.log(1000.0 / 16)
"""Largest decoded log size ratio: a 16 px anchor grows to 1000 px at most."""


class _CenterSize(NamedTuple):
    center: Tensor
    size: Tensor


class BoxCoder:
    """Encodes boxes as (dx, dy, dw, dh) relative to reference boxes, and decodes them.

    Source: R-CNN (Girshick et al. 2014), appendix C; the weights and the clip are Detectron's.

    Args:
        weights: factors of dx, dy, dw, dh in the encoded form.
        bbox_xform_clip: upper bound of dw and dh when decoding.
        pixel_offset: what a box adds to x2 - x1 to get its width.
    """

    def __init__(
        self,
        weights: tuple[float, float, float, float],
        bbox_xform_clip: float = MAX_LOG_SCALE,
        *,
        pixel_offset: int = LEGACY_PIXEL_OFFSET,
    ) -> None:
        self.weights = weights
        self.bbox_xform_clip = bbox_xform_clip
        self.pixel_offset = pixel_offset

    def encode(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """(K, 4) codes that lead from the proposals to the reference boxes.

        Args:
            reference_boxes: (K, 4) boxes to reach (ground truth).
            proposals: (K, 4) boxes to start from, of width and height > 0.
        """
        target, start = self._center_size(reference_boxes), self._center_size(proposals)
        shift = (target.center - start.center) / start.size
        growth = torch.log(target.size / start.size)
        return torch.cat([shift, growth], dim=1) * self._weights_beside(reference_boxes)

    def decode(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """(K, 4 * C) boxes that the codes lead to, in the dtype of the codes.

        Args:
            rel_codes: (K, 4 * C) codes, one set of four a class.
            boxes: (K, 4) boxes to start from.
        """
        start = self._center_size(boxes.to(rel_codes.dtype))
        codes = rel_codes.view(len(boxes), rel_codes.shape[1] // 4, 4)
        codes = codes / self._weights_beside(codes)
        center = start.center[:, None] + codes[..., :2] * start.size[:, None]
        size = start.size[:, None] * codes[..., 2:].clamp(max=self.bbox_xform_clip).exp()
        first = center - 0.5 * size
        last = center + 0.5 * size - self.pixel_offset
        return torch.cat([first, last], dim=2).flatten(1)

    def _weights_beside(self, tensor: Tensor) -> Tensor:
        """(4,), filled where the tensor is: sending numbers over would wait for a GPU."""
        return torch.cat([tensor.new_full((1,), weight) for weight in self.weights])

    def _center_size(self, boxes: Tensor) -> _CenterSize:
        size = boxes[:, 2:] - boxes[:, :2] + self.pixel_offset
        return _CenterSize(center=boxes[:, :2] + 0.5 * size, size=size)
