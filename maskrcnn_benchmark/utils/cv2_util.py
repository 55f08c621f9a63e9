"""OpenCV calls whose results differ between its versions."""

from typing import Any, NamedTuple

import cv2


class Contours(NamedTuple):
    """Outlines and how they lie in one another, as OpenCV gives them."""

    contours: tuple[Any, ...]
    hierarchy: Any


def findContours(*args: Any, **kwargs: Any) -> Contours:  # noqa: N802  # the name that scripts use
    """The (contours, hierarchy) of ``cv2.findContours``, whatever the version of OpenCV.

    OpenCV 3 returned the image in front of them.
    """
    return Contours(*cv2.findContours(*args, **kwargs)[-2:])
