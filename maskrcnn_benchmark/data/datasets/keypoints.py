"""Keypoints of persons as COCO writes them: x, y and visibility of 17 points in one row."""

from collections.abc import Sequence
from typing import Final

from maskrcnn_benchmark.data.datasets.outlines import are_coordinates
from maskrcnn_benchmark.structures.keypoint import PersonKeypoints

NUM_VALUES: Final = 3 * len(PersonKeypoints.NAMES)
"""x, y and visibility (0 not annotated, 1 hidden, 2 visible) of each point."""

MIN_KEYPOINTS_PER_IMAGE: Final = 10
"""Annotated points that an image needs to be trained on. Source: maskrcnn-benchmark."""


def are_of_a_person(keypoints: object) -> bool:
    """Whether there are as many values as a person has; other kinds are not read."""
    return isinstance(keypoints, list) and len(keypoints) == NUM_VALUES


def checked_keypoints(keypoints: object) -> list[float]:
    """The values of a person; of an annotation without keypoints zeros: nothing is annotated.

    Raises:
        ValueError: another number of values, or a value that is no sensible coordinate.
    """
    if not keypoints:
        return [0] * NUM_VALUES
    if not isinstance(keypoints, list) or len(keypoints) != NUM_VALUES:
        raise ValueError(f"keypoints must be {NUM_VALUES} numbers, not {keypoints!r:.40}")
    if not are_coordinates(keypoints):
        raise ValueError("a coordinate that is no number of sensible size")
    return keypoints


def num_labelled(keypoints: Sequence[float]) -> int:
    """Number of points that are annotated."""
    return sum(visibility > 0 for visibility in keypoints[2::3])
