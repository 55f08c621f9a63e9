"""All heads that follow the proposal stage."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import NotYetAvailableError
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import build_roi_mask_head
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.maskiou_head import build_roi_maskiou_head
from maskrcnn_benchmark.structures.bounding_box import BoxList

_BUILDERS = {"mask": build_roi_mask_head, "maskiou": build_roi_maskiou_head}
_NOT_YET = {"box": "the box head of the two-stage models", "keypoint": "the keypoint head"}


class ROIHeadsOutput(NamedTuple):
    """Result of the heads.

    Attributes:
        detections: one BoxList an image with the fields the heads add.
        losses: scalars by name; empty in evaluation.
    """

    detections: list[BoxList]
    losses: dict[str, Tensor]


class CombinedROIHeads(nn.ModuleDict):
    """The heads by name (`mask`, `maskiou`), run one after the other."""

    def forward(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList] | None = None,
    ) -> ROIHeadsOutput:
        """Detections and losses of all heads.

        Args:
            features: pyramid maps, finest first.
            proposals: one BoxList an image with the field `labels`, px of the resized image.
            targets: ground truth in training.
        """
        detections, losses, maskiou_inputs = self["mask"](features, proposals, targets)
        if "maskiou" in self:
            detections, maskiou_losses = self["maskiou"](maskiou_inputs, detections)
            losses = {**losses, **maskiou_losses}
        return ROIHeadsOutput(detections=detections, losses=losses)


def build_roi_heads(cfg: CfgNode, in_channels: int) -> CombinedROIHeads | None:
    """The heads of the architecture, or None when it has none.

    Raises:
        NotYetAvailableError: for heads that are not there yet.
    """
    spec = ArchitectureSpec.from_config(cfg)
    for name in spec.roi_heads:
        if name in _NOT_YET:
            raise NotYetAvailableError(f"the {name} head", needs=_NOT_YET[name])
    heads = {name: _BUILDERS[name](cfg, in_channels) for name in spec.roi_heads}
    return CombinedROIHeads(heads) if heads else None
