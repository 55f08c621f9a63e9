"""Boxes of one image with per-box fields.

Shapes: K boxes.
Frame: pixels of the image whose (width, height) is ``BoxList.size``; corners are inclusive unless
``pixel_offset`` says otherwise, see ``layers.pixel``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.indexing import FLIP_DIAGONAL as FLIP_DIAGONAL
from maskrcnn_benchmark.structures.indexing import FLIP_LEFT_RIGHT as FLIP_LEFT_RIGHT
from maskrcnn_benchmark.structures.indexing import FLIP_TOP_BOTTOM as FLIP_TOP_BOTTOM
from maskrcnn_benchmark.structures.indexing import InstanceIndex, as_index, check_flip
from maskrcnn_benchmark.structures.predicted_masks import PredictedMasks, masks_of_tensor

BoxMode: TypeAlias = Literal["xyxy", "xywh"]


@runtime_checkable
class InstanceField(Protocol):
    """A field that has geometry of its own (masks, keypoints) and follows its boxes."""

    def __len__(self) -> int: ...

    def __getitem__(self, item: Any) -> Any: ...  # noqa: ANN401 - each class has its own type

    def resize(self, size: tuple[int, int]) -> InstanceField:
        """The field in an image of ``size`` (w, h)."""
        ...

    def crop(self, box: Sequence[float]) -> InstanceField:
        """The field in the image cut to ``box`` (xyxy)."""
        ...

    def transpose(self, method: int) -> InstanceField:
        """The field in the flipped image."""
        ...


class BoxList:
    """The boxes of one image, with any number of fields that hold one entry a box.

    No method changes a BoxList, except ``add_field``; all others return a new one. Tensors may be
    shared between the two, so treat them as read-only.

    Args:
        bbox: (K, 4) boxes, converted to float32; an empty list is K = 0.
        image_size: (width, height) of the image the coordinates refer to.
        mode: "xyxy" (corners) or "xywh" (width and height).
        pixel_offset: what a box adds to x2 - x1 to get its width: 1, corners are its first and
            last pixel (inclusive); 0, corners are edges. Whatever is made of a BoxList inherits it.

    Attributes:
        bbox: (K, 4) float32, in the convention of ``mode``.
        size: (width, height).
        mode: "xyxy" or "xywh".
        pixel_offset: see above.

    Raises:
        ValueError: another mode, or a shape other than (K, 4).
    """

    def __init__(
        self,
        bbox: Tensor | np.ndarray[Any, Any] | Sequence[Sequence[float]],
        image_size: tuple[int, int],
        mode: BoxMode = "xyxy",
        *,
        pixel_offset: int = LEGACY_PIXEL_OFFSET,
    ) -> None:
        if mode not in ("xyxy", "xywh"):
            raise ValueError(f"mode must be 'xyxy' or 'xywh', not {mode!r}")
        boxes = torch.as_tensor(bbox, dtype=torch.float32)
        if boxes.shape == (0,):
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"bbox must have the shape (K, 4), not {tuple(boxes.shape)}")
        self.bbox: Tensor = boxes
        width, height = image_size
        self.size: tuple[int, int] = (width, height)
        self.mode: BoxMode = mode
        self.pixel_offset = pixel_offset
        self._fields: dict[str, Any] = {}

    def __len__(self) -> int:
        return self.bbox.shape[0]

    def __getitem__(self, item: InstanceIndex) -> BoxList:
        index = as_index(item, len(self), self.bbox.device)
        fields = {name: data[index] for name, data in self._fields.items()}
        return self._like(self.bbox[index], fields)

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"BoxList(num_boxes={len(self)}, image_width={width}, image_height={height}, "
            f"mode={self.mode}, fields={self.fields()})"
        )

    @property
    def extra_fields(self) -> Mapping[str, Any]:
        """Read-only view of the fields by name, as ``get_field`` gives them."""
        return MappingProxyType({name: self.get_field(name) for name in self._fields})

    @property
    def labels(self) -> Tensor:
        """(K,) int64 classes, 0 = background: the field "labels"."""
        labels: Tensor = self.get_field("labels")
        return labels

    @property
    def scores(self) -> Tensor:
        """(K,) float scores in [0, 1]: the field "scores"."""
        scores: Tensor = self.get_field("scores")
        return scores

    @property
    def predicted_masks(self) -> PredictedMasks:
        """The K predicted masks: the field "mask", whatever kind they are."""
        masks: PredictedMasks = self._kept_field("mask")
        return masks

    def add_field(self, field: str, field_data: Any) -> None:  # noqa: ANN401 - tensors and others
        """Set a field; the only method that changes the BoxList.

        Args:
            field: its name; a field of that name is replaced.
            field_data: a tensor of first dimension K, or another container of K entries. "mask"
                is kept as ``PredictedMasks``; see ``masks_of_tensor`` for what a tensor means.

        Raises:
            ValueError: the length differs from the number of boxes, or there is none; "mask" is
                nothing that says what masks they are, or masks of an image of another size.
        """
        length = _num_entries(field, field_data)
        if length != len(self):
            raise ValueError(
                f"field {field!r} must have one entry a box, {len(self)}, not {length}"
            )
        if field == "mask" and not isinstance(field_data, PredictedMasks):
            boxes = self.convert("xyxy").bbox
            field_data = masks_of_tensor(field_data, boxes, self.size, self.pixel_offset)
        if isinstance(field_data, PredictedMasks) and field_data.size != self.size:
            raise ValueError(
                f"field {field!r}: masks of an image of the size (w, h) = {field_data.size} for "
                f"boxes of one of {self.size}"
            )
        self._fields[field] = field_data

    def with_field(self, field: str, field_data: Any) -> BoxList:  # noqa: ANN401 - tensors and others
        """The same boxes and fields, and one more; arguments and errors are ``add_field``'s."""
        boxes = self._like(self.bbox, self._fields)
        boxes.add_field(field, field_data)
        return boxes

    def get_field(self, field: str) -> Any:  # noqa: ANN401 - tensors and others
        """The data of a field; "mask" as a tensor where one says it all, see ``as_field``.

        Raises:
            KeyError: no such field; the message lists those present.
        """
        data = self._kept_field(field)
        return data.as_field() if isinstance(data, PredictedMasks) else data

    def _kept_field(self, field: str) -> Any:  # noqa: ANN401 - tensors and others
        try:
            return self._fields[field]
        except KeyError:
            raise KeyError(f"no field {field!r}; fields present: {self.fields()}") from None

    def has_field(self, field: str) -> bool:
        """Whether there is a field of this name."""
        return field in self._fields

    def fields(self) -> list[str]:
        """Names of the fields, in the order of their addition."""
        return list(self._fields)

    def copy_with_fields(self, fields: str | Iterable[str], skip_missing: bool = False) -> BoxList:
        """The same boxes with the named fields only.

        Args:
            fields: one name or several.
            skip_missing: leave out names that are not there.

        Raises:
            KeyError: a name is not there and ``skip_missing`` is False.
        """
        names = [fields] if isinstance(fields, str) else fields
        kept = {
            name: self._kept_field(name)
            for name in names
            if not skip_missing or self.has_field(name)
        }
        return self._like(self.bbox, kept)

    def convert(self, mode: BoxMode) -> BoxList:
        """The same boxes in another convention ("xyxy" or "xywh").

        Raises:
            ValueError: another mode.
        """
        if mode not in ("xyxy", "xywh"):
            raise ValueError(f"mode must be 'xyxy' or 'xywh', not {mode!r}")
        if mode == self.mode:
            return self._like(self.bbox, self._fields)
        corner, other = self.bbox[:, :2], self.bbox[:, 2:]
        if mode == "xywh":
            other = other - corner + self.pixel_offset
        else:
            other = corner + (other - self.pixel_offset).clamp(min=0)
        return self._like(torch.cat([corner, other], dim=1), self._fields, mode=mode)

    def with_pixel_offset(self, pixel_offset: int) -> BoxList:
        """The same areas by another ``pixel_offset``: where corners are kept, x2 and y2 move."""
        if pixel_offset == self.pixel_offset:
            return self._like(self.bbox, self._fields)
        moved = self.convert("xyxy").bbox.clone()
        moved[:, 2:] += self.pixel_offset - pixel_offset
        boxes = BoxList(moved, self.size, pixel_offset=pixel_offset).convert(self.mode)
        return boxes._like(boxes.bbox, self._fields)

    def resize(self, size: tuple[int, int]) -> BoxList:
        """The boxes in the image resized to ``size`` (w, h); fields with geometry follow.

        Every coordinate is multiplied by its side's ratio, as in the original (the inclusive
        corners are not treated specially).
        """
        width, height = size
        ratio_w, ratio_h = width / self.size[0], height / self.size[1]
        scaled = self.bbox * self.bbox.new_tensor([ratio_w, ratio_h, ratio_w, ratio_h])
        return self._like(scaled, _follow(self._fields, "resize", (width, height)), size=size)

    def transpose(self, method: int) -> BoxList:
        """The boxes in the flipped image; fields with geometry follow.

        Args:
            method: ``FLIP_LEFT_RIGHT``, ``FLIP_TOP_BOTTOM`` or ``FLIP_DIAGONAL``.

        Raises:
            ValueError: another method.
        """
        check_flip(method)
        x1, y1, x2, y2 = self.convert("xyxy").bbox.unbind(dim=1)
        width, height = self.size
        # UPSTREAM(flip-top-bottom): bounding_box.py mirrored top-bottom without the pixel offset,
        # so that boxes moved down by a pixel against their masks. Both directions are alike here.
        size = self.size
        if method == FLIP_LEFT_RIGHT:
            last = width - self.pixel_offset
            x1, x2 = last - x2, last - x1
        elif method == FLIP_TOP_BOTTOM:
            last = height - self.pixel_offset
            y1, y2 = last - y2, last - y1
        else:
            x1, y1, x2, y2 = y1, x1, y2, x2
            size = (height, width)
        flipped = torch.stack([x1, y1, x2, y2], dim=1)
        fields = _follow(self._fields, "transpose", method)
        return self._like(flipped, fields, mode="xyxy", size=size).convert(self.mode)

    def crop(self, box: Sequence[float]) -> BoxList:
        """The boxes in the image cut to ``box``; fields with geometry follow.

        Args:
            box: (x1, y1, x2, y2); the new image has the size (x2 - x1, y2 - y1), as in the
                original. Corners are clipped to [0, size]; boxes outside become empty, but stay.
        """
        left, top, right, bottom = (float(value) for value in box)
        width, height = right - left, bottom - top
        corners = self.convert("xyxy").bbox
        offset = corners.new_tensor([left, top, left, top])
        limit = corners.new_tensor([width, height, width, height])
        cropped = (corners - offset).clamp(min=0).minimum(limit)
        fields = _follow(self._fields, "crop", box)
        size = (int(width), int(height))
        return self._like(cropped, fields, mode="xyxy", size=size).convert(self.mode)

    def clip_to_image(self, remove_empty: bool = True) -> BoxList:
        """The boxes with their corners moved into the image, ``[0, size - pixel_offset]``.

        Args:
            remove_empty: drop boxes whose clipped corners do not satisfy x2 > x1 and y2 > y1.
        """
        corners = self.convert("xyxy").bbox
        width, height = self.size
        # Filled where it is: sending numbers over would wait for a GPU.
        last = corners.new_full((4,), width - self.pixel_offset)
        last[1::2] = height - self.pixel_offset
        clipped = corners.clamp(min=0).minimum(last)
        boxes = self._like(clipped, self._fields, mode="xyxy").convert(self.mode)
        if not remove_empty:
            return boxes
        return boxes[(clipped[:, 2:] > clipped[:, :2]).all(dim=1)]

    def area(self) -> Tensor:
        """(K,) areas in px^2."""
        if self.mode == "xywh":
            return self.bbox[:, 2] * self.bbox[:, 3]
        sides = self.bbox[:, 2:] - self.bbox[:, :2] + self.pixel_offset
        return sides[:, 0] * sides[:, 1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> BoxList:
        """The BoxList on a device, with every field that can move (has ``to``)."""
        fields = fields_on(device, self._fields)
        return self._like(self.bbox.to(device, non_blocking=non_blocking), fields)

    def _like(
        self,
        bbox: Tensor,
        fields: Mapping[str, Any],
        *,
        mode: BoxMode | None = None,
        size: tuple[int, int] | None = None,
    ) -> BoxList:
        """A new BoxList that differs in what is given; field lengths are checked."""
        boxes = self._without_fields(bbox, self.size if size is None else size, mode or self.mode)
        for name, data in fields.items():
            boxes.add_field(name, data)
        return boxes

    def _without_fields(self, bbox: Tensor, size: tuple[int, int], mode: BoxMode) -> BoxList:
        """New boxes of this kind; a subclass that stays itself when selected from overrides it."""
        return BoxList(bbox, size, mode, pixel_offset=self.pixel_offset)


def _num_entries(field: str, field_data: Any) -> int:  # noqa: ANN401 - any container
    try:
        return len(field_data)
    except TypeError:
        raise ValueError(
            f"field {field!r} must be a tensor or another container of one entry a box, "
            f"not {field_data!r}"
        ) from None


def fields_on(device: torch.device | str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields on a device, as far as they can move (have ``to``)."""
    return {name: data.to(device) if hasattr(data, "to") else data for name, data in fields.items()}


def _follow(fields: Mapping[str, Any], method: str, argument: object) -> dict[str, Any]:
    """Fields after a geometric change: those with geometry take part, tensors stay."""
    return {
        name: getattr(data, method)(argument) if isinstance(data, InstanceField) else data
        for name, data in fields.items()
    }
