"""Boxes as YOLACT gives them out: whole pixels of the photo.

Shapes: K boxes.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList, BoxMode

_RELATIVE = "relative_boxes"


class WholePixelBoxes(BoxList):
    """Boxes that become whole pixels when they are brought to the size of the photo.

    They are kept in parts of the image, too, in the field ``relative_boxes`` ((K, 4) xyxy), so that
    nothing is rounded twice. What ``resize`` returns has left that behind.
    """

    @classmethod
    def of(cls, relative: Tensor, size: tuple[int, int]) -> "WholePixelBoxes":
        """Boxes (K, 4) xyxy in parts of an image of ``size`` (w, h)."""
        width, height = size
        edges = relative * relative.new_tensor([width, height] * 2)
        boxes = cls(_inclusive(edges), size)
        boxes.add_field(_RELATIVE, relative)
        return boxes

    def resize(self, size: tuple[int, int]) -> BoxList:
        """The boxes in whole px of the image resized to ``size`` (w, h), without those of no area.

        Edges are cut off at the image and rounded down; a box covers the pixels between them.
        """
        # UPSTREAM(truncated-boxes): each edge is cut off on its own side only, so a box that lies
        # outside in both directions has two negative sides, and stays.
        relative = self.get_field(_RELATIVE)
        limit = relative.new_tensor(size)
        corners = relative.view(-1, 2, 2) * limit
        first = corners.amin(dim=1).clamp(min=0)
        last = torch.minimum(corners.amax(dim=1), limit)
        edges = torch.cat([first, last], dim=1).trunc()
        (kept,) = ((edges[:, 2:] - edges[:, :2]).prod(dim=1) > 0).nonzero(as_tuple=True)
        resized = BoxList(_inclusive(edges[kept]), size)
        fields = [name for name in self.fields() if name != _RELATIVE]
        for name, data in super().resize(size)[kept].extra_fields.items():
            if name in fields:
                resized.add_field(name, data)
        return resized

    def _without_fields(self, bbox: Tensor, size: tuple[int, int], mode: BoxMode) -> BoxList:
        return WholePixelBoxes(bbox, size, mode, pixel_offset=self.pixel_offset)

    def crop(self, box: object) -> BoxList:
        """As ``BoxList``'s, of the boxes in whole px."""
        return self.resize(self.size).crop(box)  # type: ignore[arg-type]

    def transpose(self, method: int) -> BoxList:
        """As ``BoxList``'s, of the boxes in whole px."""
        return self.resize(self.size).transpose(method)


def _inclusive(edges: Tensor) -> Tensor:
    offset = LEGACY_PIXEL_OFFSET
    return edges - edges.new_tensor([0, 0, offset, offset])
