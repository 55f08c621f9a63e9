"""What every stage of a detector returns."""

from typing import NamedTuple

from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList


class StageOutput(NamedTuple):
    """Boxes and losses.

    Attributes:
        boxes: one BoxList an image, xyxy px of the resized image: what the next stage works on,
            after the last one the detections. Empty list in training if no later stage wants any.
        losses: scalars by name; empty in evaluation.
    """

    boxes: list[BoxList]
    losses: dict[str, Tensor]
