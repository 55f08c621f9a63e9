"""Photos that fit into a square canvas, as ShapeMask wants them."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_benchmark.data.transforms.floats import FloatImage
from maskrcnn_benchmark.data.transforms.transforms import RandomTransform
from maskrcnn_benchmark.structures.bounding_box import BoxList, InstanceField
from maskrcnn_benchmark.structures.photo_masks import PhotoMasks
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask


class FitToCanvas(RandomTransform):
    """Bilinear resize of an image of floats so that it fills a square in one direction.

    What does not fit, after a random factor, is cut off; what is left free is for whoever puts
    images together to pad. Source: behaviour of ShapeMask's authors' program.

    Args:
        side: of the square, px.
        scales: (lowest, highest) of the random factor.

    Raises:
        ValueError: a side below 1, or factors that are not 0 < lowest <= highest.
    """

    def __init__(self, side: int, scales: tuple[float, float] = (1.0, 1.0)) -> None:
        if side < 1:
            raise ValueError(f"side must be at least 1 px, not {side}")
        low, high = scales
        if not 0 < low <= high:
            raise ValueError(f"scales must be 0 < lowest <= highest, not {scales}")
        self.side = side
        self.scales = (low, high)

    def __call__(
        self,
        image: FloatImage,
        target: BoxList | None = None,
        rng: random.Random | None = None,
    ) -> tuple[FloatImage, BoxList | None]:
        """The (image, target), of boxes whose corners are edges; see ``RandomTransform``.

        Masks of the target become ``PhotoMasks``. Boxes without extent are left out.
        """
        draws = rng or random
        low, high = self.scales
        factor = low if low == high else draws.uniform(low, high)
        size_hw = _fitting_hw(image.shape[:2], round(factor * self.side))
        excess = [max(length - self.side, 0) for length in size_hw]
        top, left = (int(draws.random() * each) if each else 0 for each in excess)
        window = (slice(top, top + self.side), slice(left, left + self.side))
        if target is not None:
            target = self._place(target, size_hw, (left, top))
        return np.ascontiguousarray(resize_first_pixels(image, size_hw)[window]), target

    def _place(self, target: BoxList, size_hw: tuple[int, int], offset: tuple[int, int]) -> BoxList:
        height, width = size_hw
        left, top = offset
        size = (min(width, self.side), min(height, self.side))
        ratios = [new / old for new, old in zip((width, height), target.size, strict=True)]
        edges = target.with_pixel_offset(0).convert("xyxy").bbox
        boxes = edges * edges.new_tensor(ratios * 2) - edges.new_tensor(offset * 2)
        # UPSTREAM(canvas-clipping): clipped to the last pixel of the canvas, not to the photo.
        boxes = boxes.clamp(min=0, max=self.side - 1)
        placed = BoxList(boxes, size, pixel_offset=0)
        for name in target.fields():
            data = target.get_field(name)
            if isinstance(data, SegmentationMask):
                data = PhotoMasks.of(data)
            if isinstance(data, InstanceField):
                window = (left, top, left + size[0], top + size[1])
                data = data.resize((width, height)).crop(window)
            placed.add_field(name, data)
        return placed[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(side={self.side}, scales={self.scales})"


def _fitting_hw(size_hw: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width, px, of an image (h, w) that fills a square in one direction."""
    # In single precision: where a side is a half, the last bit decides how it is rounded.
    lengths = np.array(size_hw, dtype=np.float32)
    scale = (np.float32(side) / lengths).min()
    height, width = np.rint(lengths * scale).astype(int).tolist()
    return max(height, 1), max(width, 1)


def resize_first_pixels(image: NDArray[np.float32], size_hw: tuple[int, int]) -> Any:  # noqa: ANN401 - NumPy's
    """The image (H, W, 3) of another size, bilinear, with the first pixels upon one another.

    The pixel i of a side reads the place i · old / new: the first one reads the first, the last
    one less than the last. Nothing is averaged.
    """
    # UPSTREAM(legacy-grid): TensorFlow 1's way. With pixels' middles upon one another, as
    # elsewhere, trained weights find something else.
    if image.shape[:2] == size_hw:
        return image
    rows, columns = (_places(old, new) for old, new in zip(image.shape[:2], size_hw, strict=True))
    first, last, share = columns
    wide = image[:, first] + (image[:, last] - image[:, first]) * share[:, None]
    first, last, share = rows
    return wide[first] + (wide[last] - wide[first]) * share[:, None, None]


def _places(old: int, new: int) -> tuple[Any, Any, Any]:
    """For each pixel of a side those before and after its place, and how far it lies between."""
    places = np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))
    first = np.floor(places).astype(int)
    return first, np.minimum(first + 1, old - 1), (places - first).astype(np.float32)
