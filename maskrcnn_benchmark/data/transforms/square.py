"""Photos squeezed into squares, as YOLACT and SSD want them."""

from functools import partial

from maskrcnn_benchmark.data.transforms.floats import FloatImage, resize_bilinear, resize_edges
from maskrcnn_benchmark.structures.bounding_box import BoxList


class ResizeToSquare:
    """Bilinear resize of an image of floats to a square, whatever its aspect ratio.

    Source: YOLACT (arXiv 1904.02689), section 5; pixels are OpenCV's, without antialiasing.

    Args:
        side: px.

    Raises:
        ValueError: a side below 1.
    """

    def __init__(self, side: int) -> None:
        if side < 1:
            raise ValueError(f"side must be at least 1 px, not {side}")
        self.side = side

    def __call__(
        self, image: FloatImage, target: BoxList | None = None
    ) -> tuple[FloatImage, BoxList | None]:
        """The resized (image, target)."""
        size = (self.side, self.side)
        if target is not None:
            target = resize_edges(target, size, partial(resize_bilinear, size=size))
        return resize_bilinear(image, size), target

    def __repr__(self) -> str:
        return f"{type(self).__name__}(side={self.side})"
