"""All heads that follow the proposal stage."""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode
from maskrcnn_benchmark.config.families import FAMILIES
from maskrcnn_benchmark.modeling.fbnet import roi_heads as _fbnet  # noqa: F401  # registers its heads
from maskrcnn_benchmark.modeling.registry import ROI_HEADS
from maskrcnn_benchmark.modeling.roi_heads.box_head import box_head  # noqa: F401  # registers it
from maskrcnn_benchmark.modeling.roi_heads.head import RoiInputs, RoiOutput
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head import keypoint_head  # noqa: F401  # registers it
from maskrcnn_benchmark.modeling.roi_heads.mask_head import mask_head  # noqa: F401  # registers it
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head import maskiou_head  # noqa: F401  # registers it
from maskrcnn_benchmark.modeling.stage import StageOutput
from maskrcnn_benchmark.modeling.strides import Level
from maskrcnn_benchmark.structures.bounding_box import BoxList


class CombinedROIHeads(nn.ModuleDict):
    """The heads by name, run one after the other.

    In training all heads after the box head see the proposals that it sampled, in evaluation its
    detections. An image without any stays in its place.
    """

    def forward(
        self,
        features: Sequence[Tensor],
        proposals: list[BoxList],
        targets: Sequence[BoxList] | None = None,
    ) -> StageOutput:
        """What the last head leaves of the boxes, and the losses of all heads.

        Args:
            features: pyramid maps, finest first.
            proposals: one BoxList an image, px of the resized image; without a box head with the
                field ``labels``.
            targets: ground truth in training.
        """
        # UPSTREAM(empty-images): there images without boxes were dropped here, while their features
        # stayed, so that later images pooled from the wrong ones.
        inputs = RoiInputs(features, proposals, targets if self.training else None)
        losses: dict[str, Tensor] = {}
        for head in self.values():
            output: RoiOutput = head(inputs)
            losses |= output.losses
            extras = {**inputs.extras, **output.extras}
            inputs = inputs._replace(boxes=output.boxes, extras=extras)
        return StageOutput(inputs.boxes, losses)


def build_roi_heads(
    cfg: CfgNode,
    in_channels: int,
    spec: ArchitectureSpec | None = None,
    levels: Sequence[Level] | None = None,
) -> CombinedROIHeads | None:
    """The heads of the architecture, or None when it has none.

    Args:
        cfg: settings.
        in_channels: channels of the maps.
        spec: what the flags of ``cfg`` mean; None reads them.
        levels: channels and strides of the maps; None if the backbone does not say.

    Raises:
        ConfigError: for heads that do not fit one another.
    """
    spec = spec or ArchitectureSpec.from_config(cfg)
    own = FAMILIES[spec.proposal].heads
    heads = CombinedROIHeads()
    for name in spec.roi_heads:
        if name in own:
            heads[name] = own[name](cfg, in_channels, spec, levels)
            continue
        extractor = heads["box"].get_submodule("feature_extractor") if "box" in heads else None
        heads[name] = ROI_HEADS.build(name, cfg, in_channels, spec, extractor)
    return heads if spec.roi_heads else None
