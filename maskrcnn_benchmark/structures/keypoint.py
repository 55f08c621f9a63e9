"""Keypoints of the instances of one image.

Shapes: K instances, P points of an instance (17 of COCO's persons), S side of a heat map.
Frame: px of the image of ``size`` (w, h). A visibility is 0 (not annotated, x = y = 0), 1 (hidden)
or 2 (visible), as in COCO's files; predictions have 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from centermask_runtime.style import PERSON_CONNECTIONS
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import FLIP_DIAGONAL, FLIP_LEFT_RIGHT, fields_on
from maskrcnn_benchmark.structures.indexing import InstanceIndex, as_index, check_flip

if TYPE_CHECKING:
    from typing_extensions import Self


class Keypoints:
    """The points of K instances; follows its ``BoxList`` as the field "keypoints".

    No method changes a Keypoints object, except ``add_field``.

    Args:
        keypoints: (K, P, 3) or (K, 3 P) x, y and visibility of each point.
        size: (w, h) of the image.
        mode: kept and handed on, as in the original; means nothing here.
        pixel_offset: 1, coordinates count pixels, as in COCO's files; 0, they are lengths, and the
            centre of the pixel i lies at i + 0.5.

    Attributes:
        keypoints: (K, P, 3) float32.
        size: (w, h).
        mode: as given.
        pixel_offset: as given.
        extra_fields: tensors of first dimension K by name, such as "logits", (K, P) scores.

    Raises:
        ValueError: another shape.
    """

    FLIP_INDS: ClassVar[tuple[int, ...]] = ()
    """For each point the one that it becomes in a mirror; empty: itself."""

    def __init__(
        self,
        keypoints: Tensor | np.ndarray[Any, Any] | Sequence[Any],
        size: tuple[int, int],
        mode: str | None = None,
        *,
        pixel_offset: int = LEGACY_PIXEL_OFFSET,
    ) -> None:
        points = torch.as_tensor(keypoints, dtype=torch.float32)
        num_points = len(self.FLIP_INDS) or points.numel() // (3 * max(len(points), 1))
        if points.numel() != 3 * num_points * len(points):
            wanted = num_points if self.FLIP_INDS else "P"
            raise ValueError(f"keypoints must be (K, {wanted}, 3), not {tuple(points.shape)}")
        self.keypoints = points.reshape(len(points), num_points, 3)
        width, height = size
        self.size = (width, height)
        self.mode = mode
        self.pixel_offset = pixel_offset
        self.extra_fields: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, item: InstanceIndex) -> Self:
        index = as_index(item, len(self), self.keypoints.device)
        fields = {name: data[index] for name, data in self.extra_fields.items()}
        return self._like(self.keypoints[index], fields=fields)

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"{type(self).__name__}(num_instances={len(self)}, image_width={width}, "
            f"image_height={height})"
        )

    def add_field(self, field: str, field_data: Any) -> None:  # noqa: ANN401 - tensors and others
        """Set a field, a container of K entries.

        Raises:
            ValueError: another number of entries.
        """
        if len(field_data) != len(self):
            raise ValueError(
                f"field {field!r} must have one entry an instance, {len(self)}, "
                f"not {len(field_data)}"
            )
        self.extra_fields[field] = field_data

    def get_field(self, field: str) -> Any:  # noqa: ANN401 - tensors and others
        """The data of a field.

        Raises:
            KeyError: no such field.
        """
        return self.extra_fields[field]

    def with_pixel_offset(self, pixel_offset: int) -> Self:
        """The same points by another ``pixel_offset``; those without annotation stay at (0, 0)."""
        if pixel_offset == self.pixel_offset:
            return self
        half = (self.pixel_offset - pixel_offset) / 2
        moved = _zero_unlabelled(self.keypoints + self.keypoints.new_tensor([half, half, 0.0]))
        return self._like(moved, pixel_offset=pixel_offset)

    def resize(self, size: tuple[int, int]) -> Self:
        """The points in the image resized to ``size`` (w, h)."""
        ratios = [new / old for new, old in zip(size, self.size, strict=True)]
        return self._like(self.keypoints * self.keypoints.new_tensor([*ratios, 1.0]), size=size)

    def crop(self, box: Sequence[float]) -> Self:
        """The points in the image cut to ``box`` (xyxy), of the size (x2 - x1, y2 - y1).

        Points outside count as not annotated.
        """
        left, top, right, bottom = (float(value) for value in box)
        width, height = right - left, bottom - top
        moved = self.keypoints - self.keypoints.new_tensor([left, top, 0.0])
        x, y = moved[..., 0], moved[..., 1]
        outside = (x < 0) | (y < 0) | (x > width) | (y > height)
        moved = moved.masked_fill(outside[..., None], 0.0)
        return self._like(_zero_unlabelled(moved), size=(int(width), int(height)))

    def transpose(self, method: int) -> Self:
        """The points in the flipped image, left and right exchanged; see ``BoxList.transpose``."""
        check_flip(method)
        points = self.keypoints[:, list(self.FLIP_INDS)] if self.FLIP_INDS else self.keypoints
        coordinates = list(points.unbind(dim=2))
        if method == FLIP_DIAGONAL:
            width, height = self.size
            coordinates[:2] = coordinates[1::-1]
            return self._like(torch.stack(coordinates, dim=2), size=(height, width))
        axis = 0 if method == FLIP_LEFT_RIGHT else 1
        coordinates[axis] = self.size[axis] - self.pixel_offset - coordinates[axis]
        return self._like(_zero_unlabelled(torch.stack(coordinates, dim=2)))

    def to(self, device: torch.device | str) -> Self:
        """The points on a device, with every field that can move (has ``to``)."""
        fields = fields_on(device, self.extra_fields)
        return self._like(self.keypoints.to(device), fields=fields)

    def _like(
        self,
        keypoints: Tensor,
        *,
        size: tuple[int, int] | None = None,
        fields: dict[str, Any] | None = None,
        pixel_offset: int | None = None,
    ) -> Self:
        made = type(self)(
            keypoints,
            self.size if size is None else size,
            self.mode,
            pixel_offset=self.pixel_offset if pixel_offset is None else pixel_offset,
        )
        made.extra_fields = dict(self.extra_fields if fields is None else fields)
        return made


def _zero_unlabelled(points: Tensor) -> Tensor:
    """The points (K, P, 3); those of visibility 0 at (0, 0), as in COCO's files."""
    return points.masked_fill(points[..., 2:] == 0, 0.0)


class PersonKeypoints(Keypoints):
    """The 17 keypoints of COCO's persons.

    Attributes:
        NAMES: of the points, in their order.
        FLIP_MAP: point of the left side -> that of the right side.
        CONNECTIONS: pairs of points that a line between them makes a skeleton of.
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        "nose",
        *(f"{side}_{part}" for part in ("eye", "ear") for side in ("left", "right")),
        *(
            f"{side}_{part}"
            for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
            for side in ("left", "right")
        ),
    )
    FLIP_MAP: ClassVar[dict[str, str]] = {
        name: name.replace("left_", "right_") for name in NAMES if name.startswith("left_")
    }
    FLIP_INDS = (0, *(index + 1 if index % 2 else index - 1 for index in range(1, 17)))
    CONNECTIONS: ClassVar[Sequence[tuple[int, int]]] = PERSON_CONNECTIONS


class KeypointHeatmap(NamedTuple):
    """Where the points of some rois lie in heat maps.

    Attributes:
        indices: (K, P) int64 row * S + column of each point; 0 where ``valid`` is not.
        valid: (K, P) bool: annotated and inside its roi.
    """

    indices: Tensor
    valid: Tensor


def keypoints_to_heat_map(keypoints: Tensor, rois: Tensor, heatmap_size: int) -> KeypointHeatmap:
    """The heat-map cell of each point of each roi.

    A roi is divided into S x S cells; a point on its right or bottom edge belongs to the last one.

    Source: Mask R-CNN (He et al. 2017), section 5, "Keypoint detection"; the half-open cells with
    a closed end are Detectron's.

    Args:
        keypoints: (K, P, 3) px.
        rois: (K, 4) px, xyxy.
        heatmap_size: S.
    """
    first, last = rois[:, None, :2], rois[:, None, 2:]
    points = keypoints[..., :2]
    # A roi without extent holds only points on its edge, which the next line puts right.
    cells = ((points - first) * (heatmap_size / (last - first))).nan_to_num(-1.0).floor()
    cells = torch.where(points == last, heatmap_size - 1.0, cells)
    inside = ((cells >= 0) & (cells < heatmap_size)).all(dim=2)
    valid = inside & (keypoints[..., 2] > 0)
    column, row = cells.masked_fill(~valid[..., None], 0.0).to(torch.int64).unbind(dim=2)
    return KeypointHeatmap(indices=row * heatmap_size + column, valid=valid)
