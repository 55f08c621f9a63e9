"""Proposal stages by architecture."""

from collections.abc import Callable

from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.spec import ArchitectureSpec
from maskrcnn_benchmark.modeling.dense.fcos import build_fcos
from maskrcnn_benchmark.modeling.dense.retinanet import build_retinanet
from maskrcnn_benchmark.modeling.dense.rpn.proposal_network import build_proposal_network
from maskrcnn_benchmark.modeling.fbnet import rpn_head as _fbnet  # noqa: F401  # enters its head

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "fcos": build_fcos,
    "rpn": build_proposal_network,
    "retinanet": build_retinanet,
}


def build_rpn(cfg: CfgNode, in_channels: int, spec: ArchitectureSpec | None = None) -> nn.Module:
    """The proposal stage of the architecture, called with (images, features, targets=None).

    Args:
        cfg: settings.
        in_channels: channels of the maps.
        spec: what the flags of ``cfg`` mean; None reads them.
    """
    spec = spec or ArchitectureSpec.from_config(cfg)
    return _BUILDERS[spec.proposal](cfg, in_channels, spec)
