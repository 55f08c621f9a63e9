"""The TensorMask stage: head, windows, losses and selection, with masks of its own."""

from collections.abc import Sequence

from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.convention import GridRules
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.families import Family
from maskrcnn_benchmark.modeling.box_coder import BoxCoder
from maskrcnn_benchmark.modeling.dense.anchor_generator import AnchorGenerator
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.dense.tensormask.head import (
    TensorMaskHead,
    TensorMaskHeadSettings,
    TensorMaskOutputs,
)
from maskrcnn_benchmark.modeling.dense.tensormask.inference import Limits, TensorMaskSelection
from maskrcnn_benchmark.modeling.dense.tensormask.loss import LossSettings, TensorMaskLoss
from maskrcnn_benchmark.modeling.dense.tensormask.matching import WindowMatcher
from maskrcnn_benchmark.modeling.dense.tensormask.settings import TensorMaskSettings
from maskrcnn_benchmark.modeling.dense.tensormask.windows import WindowReader
from maskrcnn_benchmark.modeling.strides import Level

_CODE_WEIGHTS = (1.5, 1.5, 0.75, 0.75)
"""Source: TensorMask's program."""
_DEFAULT_STRIDES = (4, 8, 16, 32, 64, 128)
"""Of P2 to P7, for backbones that do not say theirs."""


def build_tensormask(
    cfg: CfgNode, in_channels: int, spec: ArchitectureSpec, levels: Sequence[Level] | None
) -> DenseStage[TensorMaskOutputs]:
    """The stage that MODEL.DENSE.SETTINGS describes, for features of ``in_channels`` channels.

    Raises:
        ConfigError: other rules than detectron2's, maps that are not each half as large as the one
            before, or windows that are no multiples of the finest stride.
    """
    _check_rules(Convention.from_config(cfg), cfg.MODEL.CONVENTION)
    settings: TensorMaskSettings = spec.settings
    strides = _DEFAULT_STRIDES if levels is None else tuple(level.stride for level in levels)
    factors = _factors(strides)
    sides = _mask_sides(settings.anchor_sizes, strides[0])
    anchors = AnchorGenerator(
        sizes=[[size * factor for size in settings.anchor_sizes] for factor in factors],
        aspect_ratios=(1.0,),
        strides=strides,
        rules=GridRules(anchors="exact"),
    )
    coder = BoxCoder(weights=_CODE_WEIGHTS, pixel_offset=0)
    reader = WindowReader(
        factors=factors if settings.bipyramid_on else (1,) * len(factors),
        num_sizes=len(sides),
        aligned=settings.aligned_on,
    )
    limits = Limits(
        score_threshold=settings.score_threshold,
        top_n=settings.nms_top_n,
        nms_threshold=settings.nms_threshold,
        num_detections=cfg.TEST.DETECTIONS_PER_IMG,
    )
    return DenseStage(
        head=_make_head(settings, in_channels, spec.num_classes - 1, sides, factors),
        outputs=TensorMaskOutputs,
        points=anchors,
        loss=TensorMaskLoss(
            settings=_loss_settings(settings),
            matcher=WindowMatcher(strides=strides, smallest=settings.anchor_sizes[0] - strides[0]),
            coder=coder,
            reader=reader,
        ),
        select_train=None,
        select_test=TensorMaskSelection(limits=limits, coder=coder, reader=reader),
    )


def _make_head(
    settings: TensorMaskSettings,
    in_channels: int,
    num_foreground: int,
    sides: tuple[int, ...],
    factors: tuple[int, ...],
) -> TensorMaskHead:
    return TensorMaskHead(
        TensorMaskHeadSettings(
            in_channels=in_channels,
            num_foreground=num_foreground,
            mask_sides=sides,
            factors=factors,
            num_convs=settings.num_convs,
            cls_channels=settings.cls_channels,
            bbox_channels=settings.bbox_channels,
            mask_channels=settings.mask_channels,
            prior_prob=settings.prior_prob,
            bipyramid=settings.bipyramid_on,
        )
    )


def _loss_settings(settings: TensorMaskSettings) -> LossSettings:
    return LossSettings(
        gamma=settings.focal_gamma,
        alpha=settings.focal_alpha,
        mask_weight=settings.mask_weight,
        positive_weight=settings.positive_weight,
    )


def _check_rules(rules: Convention, name: str) -> None:
    if rules.pixel_offset != 0 or not rules.clips_detections:
        raise ConfigError(
            "MODEL.CONVENTION: expected 'detectron2' with the dense detector 'tensormask', whose "
            f"boxes are half-open and clipped as the last step, got {name!r}"
        )


def _factors(strides: Sequence[int]) -> tuple[int, ...]:
    """How many cells of the finest map lie along one of each level."""
    factors = tuple(2**level for level in range(len(strides)))
    if tuple(strides[0] * factor for factor in factors) != tuple(strides):
        raise ConfigError(
            "MODEL.BACKBONE.CONV_BODY: expected maps with twice the stride of the one before each "
            f"for 'tensormask', as of '-FPN-P2P7', got strides {tuple(strides)}"
        )
    return factors


def _mask_sides(anchor_sizes: Sequence[int], stride: int) -> tuple[int, ...]:
    """Cells of the sides of stored masks: one a cell of the finest map."""
    if any(size % stride for size in anchor_sizes):
        raise ConfigError(
            f"MODEL.DENSE.SETTINGS.ANCHOR_SIZES: expected multiples of {stride}, the stride of the "
            f"finest map, got {tuple(anchor_sizes)}"
        )
    return tuple(size // stride for size in anchor_sizes)


TENSORMASK = Family(build_tensormask, gives_masks=True, settings=TensorMaskSettings, has_rules=True)
