"""The region proposal head of FBNet models.

Shapes: N images, F feature channels, A anchors of a cell, Hi x Wi cells of level i.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.modeling.dense.anchor_generator import make_anchor_generator
from maskrcnn_benchmark.modeling.dense.rpn.head import RPNOutputs
from maskrcnn_benchmark.modeling.fbnet.backbone import FBNetFactory, make_norm
from maskrcnn_benchmark.modeling.make_layers import init_normal
from maskrcnn_benchmark.modeling.registry import RPN_HEADS

_INIT_STD = 0.01


class FBNetRPNFeatures(nn.Module):
    """Blocks of the architecture, run on every level.

    Args:
        blocks: (N, F, Hi, Wi) -> (N, D, Hi, Wi).
    """

    def __init__(self, *, blocks: nn.Module) -> None:
        super().__init__()
        self.head = blocks

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, D, Hi, Wi) of all levels."""
        return [self.head(feature) for feature in features]


class RPNConvRegressor(nn.Module):
    """Two 1x1 convolutions: objectness and boxes.

    Args:
        in_channels: D.
        num_anchors: A.
    """

    def __init__(self, *, in_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=1)
        for conv in (self.cls_logits, self.bbox_pred):
            init_normal(conv, _INIT_STD)

    def forward(self, features: Sequence[Tensor]) -> RPNOutputs:
        """Predictions on maps (N, D, Hi, Wi)."""
        return RPNOutputs(
            logits=[self.cls_logits(feature) for feature in features],
            deltas=[self.bbox_pred(feature) for feature in features],
        )


@RPN_HEADS.register("FBNet.rpn_head")
def build_fbnet_rpn_head(
    cfg: CfgNode, in_channels: int, num_anchors: int | None = None
) -> nn.Sequential:
    """The head of the architecture that MODEL.FBNET names: maps of all levels -> RPNOutputs.

    Args:
        cfg: the settings.
        in_channels: F.
        num_anchors: A; None: as many as MODEL.RPN describes.

    Raises:
        ConfigError: MODEL.FBNET.RPN_HEAD_BLOCKS is more than the architecture has.
    """
    if num_anchors is None:
        num_anchors = make_anchor_generator(cfg).num_anchors_per_location
    factory = FBNetFactory.from_config(cfg)
    if cfg.MODEL.FBNET.RPN_BN_TYPE:
        factory = factory.with_norm(make_norm(cfg, "RPN_BN_TYPE"))
    blocks = list(factory.architecture.blocks_of("rpn").items())
    wanted = cfg.MODEL.FBNET.RPN_HEAD_BLOCKS
    if wanted > len(blocks):
        raise ConfigError(
            f"MODEL.FBNET.RPN_HEAD_BLOCKS: expected at most {len(blocks)}, got {wanted}"
        )
    # The last ones; 0 takes all.
    body = factory.blocks(dict(blocks[-wanted:]), in_channels)
    return nn.Sequential(
        FBNetRPNFeatures(blocks=body.module),
        RPNConvRegressor(in_channels=body.out_channels, num_anchors=num_anchors),
    )
