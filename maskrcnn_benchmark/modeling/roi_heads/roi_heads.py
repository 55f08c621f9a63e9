"""All heads that follow the proposal stage."""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.fbnet import roi_heads as _fbnet  # noqa: F401  # enters its heads
from maskrcnn_benchmark.modeling.roi_heads.box_head.box_head import build_roi_box_head
from maskrcnn_benchmark.modeling.roi_heads.head import RoiInputs, RoiOutput
from maskrcnn_benchmark.modeling.roi_heads.keypoint_head.keypoint_head import (
    build_roi_keypoint_head,
)
from maskrcnn_benchmark.modeling.roi_heads.mask_head.mask_head import build_roi_mask_head
from maskrcnn_benchmark.modeling.roi_heads.maskiou_head.maskiou_head import build_roi_maskiou_head
from maskrcnn_benchmark.modeling.stage import StageOutput
from maskrcnn_benchmark.structures.bounding_box import BoxList


class CombinedROIHeads(nn.ModuleDict):
    """The heads by name (`box`, `mask`, `maskiou`, `keypoint`), run one after the other.

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
                field `labels`.
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
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None
) -> CombinedROIHeads | None:
    """The heads of the architecture, or None when it has none.

    Args:
        cfg: settings.
        in_channels: channels of the maps.
        spec: what the flags of ``cfg`` mean; None reads them.

    Raises:
        ConfigError: for heads that do not fit one another.
    """
    spec = spec or ArchitectureSpec.from_config(cfg)
    names = spec.roi_heads
    heads: dict[str, nn.Module] = {}
    box_extractor: nn.Module | None = None
    if "box" in names:
        heads["box"] = build_roi_box_head(cfg, in_channels, spec)
        box_extractor = heads["box"].get_submodule("feature_extractor")
    if "mask" in names:
        shared = _make_shared_extractor(cfg, "ROI_MASK_HEAD", box_extractor)
        heads["mask"] = build_roi_mask_head(cfg, in_channels, spec, shared)
    if "maskiou" in names:
        heads["maskiou"] = build_roi_maskiou_head(cfg, in_channels, spec)
    # UPSTREAM(keypoint-head): roi_heads.py never built it, so KEYPOINT_ON changed nothing.
    if "keypoint" in names:
        shared = _make_shared_extractor(cfg, "ROI_KEYPOINT_HEAD", box_extractor)
        heads["keypoint"] = build_roi_keypoint_head(cfg, in_channels, spec, shared)
    return CombinedROIHeads(heads) if heads else None


def _make_shared_extractor(
    cfg: CfgNode, head_name: str, box_extractor: nn.Module | None
) -> nn.Module | None:
    """The box head's extractor if the head is to share it; a model without box head has none."""
    if box_extractor is None or not cfg.MODEL[head_name].SHARE_BOX_FEATURE_EXTRACTOR:
        return None
    if not getattr(box_extractor, "gives_maps", True):
        raise ConfigError(
            f"MODEL.{head_name}.SHARE_BOX_FEATURE_EXTRACTOR is True, but the features of "
            f"MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR {cfg.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR!r} "
            "are vectors, not maps; set it False"
        )
    return box_extractor
