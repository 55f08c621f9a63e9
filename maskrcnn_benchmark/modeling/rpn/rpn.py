"""Proposal stages by architecture."""

from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import NotYetAvailableError
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.rpn.fcos import build_fcos


def build_rpn(cfg: CfgNode, in_channels: int) -> nn.Module:
    """The proposal stage of the architecture, called with (images, features, targets=None).

    Raises:
        NotYetAvailableError: for proposal stages that are not there yet.
    """
    spec = ArchitectureSpec.from_config(cfg)
    if spec.proposal != "fcos":
        raise NotYetAvailableError(spec.proposal, needs="anchors and their losses")
    return build_fcos(cfg, in_channels)
