"""What all RoI heads share: what goes in, what comes out, and what they leave for one another.

Shapes: R rois of all images, P proposals matched to a ground truth, F feature channels, M mask
side.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.layers.precision import leave_half_precision
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import RoiFeatures, extract_rois
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

Extras: TypeAlias = Mapping[type, Any]
"""What heads leave for later ones: named tuples, each under its type."""
NO_EXTRAS: Final[Extras] = MappingProxyType({})
_ROIS_AT_ONCE: Final = 32
"""On a CPU, or one more: groups of 16 take 3 % longer in all, 100 more memory than the network.
So many maps of 14 x 14 are whole vectors of the processor: no rounding depends on the grouping."""
_ROIS_AT_ONCE_ELSEWHERE: Final = 512
"""A GPU wants more work at a time."""


class RoiInputs(NamedTuple):
    """What every head gets.

    Attributes:
        features: maps, finest first.
        boxes: one BoxList an image, px of the resized image: proposals, or what earlier heads made
            of them.
        targets: ground truth of each image, for losses; None: detections are wanted.
        extras: what earlier heads left.
    """

    features: Sequence[Tensor]
    boxes: list[BoxList]
    targets: Sequence[BoxList] | None = None
    extras: Extras = NO_EXTRAS

    @property
    def device(self) -> torch.device | None:
        """That of the maps; None without any."""
        return self.features[0].device if len(self.features) else None


class RoiOutput(NamedTuple):
    """What every head returns.

    Attributes:
        boxes: what the next head gets: with targets the proposals or a sample of them, else the
            detections, to which the head adds fields.
        losses: scalars by name; empty without targets.
        extras: what later heads may use.
    """

    boxes: list[BoxList]
    losses: dict[str, Tensor]
    extras: Extras = NO_EXTRAS


class BoxFeatures(NamedTuple):
    """Left by the box head in training, for heads that share its feature extractor.

    Attributes:
        features: of all proposals that it sampled.
    """

    features: Tensor


class MaskTargets(NamedTuple):
    """What the matched proposals of a batch should predict.

    Attributes:
        proposals: the matched proposals of each image, without fields.
        instances: the ground-truth mask of each matched proposal, one item an image.
        labels: (P,) int64, over all images.
        masks: (P, M, M) float, 0 or 1, the ground truth cropped to the proposal.
        indices: (P,) int64 place of each matched proposal among all that went in, over all images.
    """

    proposals: list[BoxList]
    instances: list[SegmentationMask]
    labels: Tensor
    masks: Tensor
    indices: Tensor


class MaskPrediction(NamedTuple):
    """Left by the mask head: what it saw and predicted of every roi.

    Attributes:
        pooled: (R, F, M / 2, M / 2) features of the roi.
        masks: (R, 1, M, M) probabilities of the roi's class.
        labels: (R,) int64.
        targets: ground truth of the rois, for a loss, else None.
    """

    pooled: Tensor
    masks: Tensor
    labels: Tensor
    targets: MaskTargets | None


class ROIHead(nn.Module):
    """Features of rois and predictions from them; a subclass makes losses and detections of these.

    What the predictor returns is never in half precision: losses and decoding rely on it.

    Args:
        feature_extractor: maps and boxes -> features of each roi, as a ``ROIFeatureExtractor``.
        predictor: features -> a tensor, or a tuple of them.
        shares_box_features: the extractor is the box head's, whose features are taken in training.
    """

    def __init__(
        self,
        *,
        feature_extractor: nn.Module,
        predictor: nn.Module,
        shares_box_features: bool = False,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.predictor = predictor
        predictor.register_forward_hook(leave_half_precision)
        self.shares_box_features = shares_box_features

    def forward(self, inputs: RoiInputs) -> RoiOutput:
        """Losses where there are targets, else detections."""
        raise NotImplementedError

    def extract(
        self, inputs: RoiInputs, boxes: list[BoxList], indices: Tensor | None = None
    ) -> RoiFeatures:
        """Features of some of the boxes.

        Args:
            inputs: what the head got.
            boxes: those whose features are wanted, one BoxList an image.
            indices: in training their places among all boxes that the head got; shared features
                are looked up there.
        """
        if self.shares_box_features and indices is not None:
            shared: Tensor = inputs.extras[BoxFeatures].features[indices]
            return RoiFeatures(encoded=shared, pooled=shared)
        return extract_rois(self.feature_extractor, inputs.features, boxes)


def in_groups(boxes: Sequence[BoxList]) -> Iterator[list[BoxList]]:
    """The boxes of all images in their order, some at a time; at least one group.

    What a head makes of a roi does not depend on the others, but the memory that it takes does.
    """
    begins = list(accumulate(map(len, boxes), initial=0))
    on_cpu = all(per_image.bbox.device.type == "cpu" for per_image in boxes)
    most = _ROIS_AT_ONCE if on_cpu else _ROIS_AT_ONCE_ELSEWHERE
    num_rois = begins[-1]
    # One alone joins the last group: other kernels, which round otherwise, would work on it.
    limits = [0, *range(most, num_rois - 1, most), num_rois]
    for first, last in pairwise(limits):
        yield [
            per_image[max(0, first - begin) : max(0, last - begin)]
            for begin, per_image in zip(begins, boxes, strict=False)
        ]
