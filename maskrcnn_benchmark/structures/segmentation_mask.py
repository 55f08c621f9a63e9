"""Ground-truth masks of the instances of one image, as polygons or as bitmaps.

Shapes: K instances; H, W height and width of their image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maskrcnn_benchmark.layers.coco_raster import rasterize
from maskrcnn_benchmark.structures.binary_mask_list import (
    BinaryMaskList,
    decode_rle,
    mask_to_polygons,
    stack_masks,
)
from maskrcnn_benchmark.structures.indexing import InstanceIndex, check_flip
from maskrcnn_benchmark.structures.polygon_list import PolygonList

MaskMode: TypeAlias = Literal["poly", "mask"]
Bitmap: TypeAlias = Tensor | NDArray[Any]
Instance: TypeAlias = Sequence[ArrayLike] | Mapping[str, Any] | Bitmap


class SegmentationMask:
    """Masks of K instances; follows its ``BoxList`` as the field "masks".

    No method changes a SegmentationMask. Polygons are the better ground truth for training (they
    are cropped before they are rasterised, so nothing is lost); bitmaps hold anything.

    Args:
        instances: for each instance a list of flat polygons (x1, y1, x2, y2, ..., at least three
            points), a COCO RLE ``{"size": [H, W], "counts": list | str | bytes}`` or a (H, W)
            bitmap (tensor or array, 0 = background), in any mixture; or all bitmaps as
            (K, H, W), or a single one as (H, W); or the ``PolygonList`` or ``BinaryMaskList``
            itself, whose kind must be that of ``mode``.
        size: (w, h) of the image.
        mode: "poly" or "mask": how the instances are kept. In "poly", RLEs and bitmaps become
            their outer contours (holes are filled); in "mask", polygons are rasterised.

    Attributes:
        instances: ``PolygonList`` or ``BinaryMaskList``.

    Raises:
        ValueError: another mode, a malformed polygon or RLE, a bitmap of another shape.
    """

    def __init__(
        self,
        instances: Sequence[Instance] | Bitmap | PolygonList | BinaryMaskList,
        size: tuple[int, int],
        mode: MaskMode = "poly",
    ) -> None:
        if mode not in ("poly", "mask"):
            raise ValueError(f"mode must be 'poly' or 'mask', not {mode!r}")
        self.mode: MaskMode = mode
        self.instances: PolygonList | BinaryMaskList
        if isinstance(instances, Tensor | np.ndarray) and instances.ndim == 2:
            instances = _checked(instances, size)[None]
        if isinstance(instances, PolygonList | BinaryMaskList):
            self.instances = instances
        elif isinstance(instances, Tensor):
            bitmaps = BinaryMaskList(instances, size)
            self.instances = bitmaps if mode == "mask" else PolygonList(bitmaps.to_polygons(), size)
        elif mode == "mask":
            masks = stack_masks((_mask_of(instance, size) for instance in instances), size)
            self.instances = BinaryMaskList(masks, size)
        else:
            self.instances = PolygonList((_polygons_of(each, size) for each in instances), size)
        if isinstance(self.instances, PolygonList) != (mode == "poly"):
            raise ValueError(f"{type(self.instances).__name__} is not of the mode {mode!r}")

    @property
    def size(self) -> tuple[float, float]:
        """(w, h) of the image; fractional after polygons were cropped to a fractional box."""
        return self.instances.size

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, item: InstanceIndex) -> SegmentationMask:
        return self._like(self.instances[item])

    def __iter__(self) -> Iterator[SegmentationMask]:
        for index in range(len(self)):
            yield self[index]

    def __repr__(self) -> str:
        width, height = self.size
        return (
            f"SegmentationMask(num_instances={len(self)}, image_width={width}, "
            f"image_height={height}, mode={self.mode})"
        )

    def crop(self, box: Sequence[float] | Tensor) -> SegmentationMask:
        """The masks relative to ``box`` (xyxy), in an image of (x2 - x1, y2 - y1), at least 1.

        Polygons keep what is outside (rasterising cuts it off); bitmaps round the box.
        """
        return self._like(self.instances.crop(box.tolist() if isinstance(box, Tensor) else box))

    def resize(self, size: tuple[int, int] | int) -> SegmentationMask:
        """The masks in the image resized to ``size`` (w, h), a single number being both."""
        size_wh = (size, size) if isinstance(size, int) else size
        return self._like(self.instances.resize(size_wh))

    def transpose(self, method: int) -> SegmentationMask:
        """The masks in the flipped image; see ``BoxList.transpose``."""
        check_flip(method)
        return self._like(self.instances.transpose(method))

    def convert(self, mode: MaskMode) -> SegmentationMask:
        """The same masks kept as polygons ("poly") or bitmaps ("mask").

        Raises:
            ValueError: another mode.
        """
        if mode == self.mode:
            return self
        bitmasks = self.to_bitmasks()
        height, width = bitmasks.shape[1:]
        return SegmentationMask(bitmasks, (width, height), mode)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SegmentationMask:
        """The masks on a device; polygons always are on the CPU."""
        if isinstance(self.instances, PolygonList):
            return self
        return self._like(self.instances.to(device, non_blocking=non_blocking))

    def to_bitmasks(self) -> Tensor:
        """(K, H, W) bool masks."""
        return self.instances.to_bitmasks()

    def get_mask_tensor(self) -> Tensor:
        """(K, H, W) uint8 masks of 0 and 1, or (H, W) if K is 1."""
        # UPSTREAM(mask-tensor-squeeze): one instance loses its first dimension; scripts index with
        # it. Code here uses ``to_bitmasks``, whose shape does not depend on the data.
        return self.to_bitmasks().to(torch.uint8).squeeze(0)

    def _like(self, instances: PolygonList | BinaryMaskList) -> SegmentationMask:
        made = object.__new__(SegmentationMask)
        made.mode, made.instances = self.mode, instances
        return made


def _polygons_of(instance: Instance, size: tuple[int, int]) -> Sequence[ArrayLike]:
    if isinstance(instance, Mapping | Tensor | np.ndarray):
        return mask_to_polygons(_bitmap_of(instance, size))
    return instance


def _mask_of(instance: Instance, size: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(instance, Mapping | Tensor | np.ndarray):
        return _bitmap_of(instance, size)
    width, height = size
    # In double precision: COCO's coordinates have two decimals, and those that are halves of its
    # raster's steps would fall to either side in float32, in which polygon lists keep them.
    PolygonList([instance], size)  # refuses what is no polygon
    polygons = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in instance]
    mask: NDArray[np.bool_] = rasterize([polygons], (height, width))[0]
    return mask


def _bitmap_of(instance: Mapping[str, Any] | Bitmap, size: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(instance, Mapping):
        return decode_rle(instance, size)
    filled = _checked(instance, size) != 0
    mask: NDArray[np.bool_] = filled.cpu().numpy() if isinstance(filled, Tensor) else filled
    return mask


def _checked(bitmap: Bitmap, size: tuple[int, int]) -> Bitmap:
    """The bitmap, if it has the shape of the image."""
    width, height = size
    if tuple(bitmap.shape) != (height, width):
        raise ValueError(
            f"a bitmap of the size (w, h) = {size} must have the shape ({height}, {width}), "
            f"not {tuple(bitmap.shape)}"
        )
    return bitmap
