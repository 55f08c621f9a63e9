"""What every data set offers."""

from __future__ import annotations

from typing import Any, Protocol

from maskrcnn_benchmark.structures.bounding_box import BoxList


class DetectionDataset(Protocol):
    """Images with boxes, by position from 0.

    A loader gives a data set without ``name`` or ``categories`` the name in the catalog and as many
    categories as the model has classes.

    Attributes:
        name: what to call it in messages.
        categories: contiguous id (from 1) -> category name.
    """

    name: str
    categories: dict[int, str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, BoxList, int]:
        """The (image, target, image id) at a position, the image being a PIL image.

        The target has the field "labels" and, for mask heads, "masks".
        """
        ...

    def get_img_info(self, index: int) -> dict[str, Any]:
        """What is known without reading the image: "height" and "width" in px, at least."""
        ...
