"""Proposal stages by architecture."""

from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import NotYetAvailableError
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.rpn.fcos import build_fcos
from maskrcnn_benchmark.modeling.rpn.proposal_network import build_proposal_network

_BUILDERS = {"fcos": build_fcos, "rpn": build_proposal_network}


def build_rpn(cfg: CfgNode, in_channels: int) -> nn.Module:
    """The proposal stage of the architecture, called with (images, features, targets=None)."""
    proposal = ArchitectureSpec.from_config(cfg).proposal
    if proposal not in _BUILDERS:
        raise NotYetAvailableError(proposal, needs="anchors and their losses")
    return _BUILDERS[proposal](cfg, in_channels)
