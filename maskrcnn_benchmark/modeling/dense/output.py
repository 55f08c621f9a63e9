"""What every proposal stage returns."""

from typing import NamedTuple

from torch import Tensor

from maskrcnn_benchmark.structures.bounding_box import BoxList


class ProposalOutput(NamedTuple):
    """Result of a proposal stage.

    Attributes:
        proposals: one BoxList an image, xyxy px of the resized image; empty list when training
            without later heads.
        losses: scalars by name; empty in evaluation.
    """

    proposals: list[BoxList]
    losses: dict[str, Tensor]
