"""The rules in which generations of detectors differ: the only reader of MODEL.CONVENTION.

The same layers with the same weights find other boxes under other rules: whether a box from x1 to
x2 is x2 - x1 or x2 - x1 + 1 px wide, where a cell of a map lies, what a score is. A convention
names them all at once. ``from_config`` and ``build_*`` read them here and hand each on as an
argument of its own; nothing below asks which convention it is.

A further one is an entry of ``CONVENTIONS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from maskrcnn_benchmark.config.node import CfgNode
from maskrcnn_benchmark.config.registry import Registry

DistanceRule: TypeAlias = Literal["exp", "relu_strides"]
ScoreRule: TypeAlias = Literal["product", "root"]
RoundingRule: TypeAlias = Literal["truncate", "nearest", "floor"]
AnchorForm: TypeAlias = Literal["detectron", "exact", "whole"]
PitchRule: TypeAlias = Literal["stride", "image"]
ForeignProgram: TypeAlias = Literal["", "detectron2", "torchvision"]
PasteName: TypeAlias = Literal["own", "inclusive"]
AreaRatioRule: TypeAlias = Literal["raster", "shoelace"]
DivisorRule: TypeAlias = Literal["own", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRules:
    """Where anchors and locations of the cells of a map lie. The defaults are the original's.

    Attributes:
        anchors: "detectron", in the middle of the first pixels of a cell, of the shape of whole px
            at the stride; "exact", around the cell's first corner, nothing rounded; "whole", around
            that corner, too, sizes cut and corners rounded to whole px.
        pitch: from cell to cell: "stride" of the level, or "image", as many whole px as the padded
            image has for each cell.
        centred: FCOS's locations lie in the middle of their cells, otherwise at the first corner.
    """

    anchors: AnchorForm = "detectron"
    pitch: PitchRule = "stride"
    centred: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FCOSRules:
    """How FCOS makes boxes, scores and losses of its predictions. The defaults are the original's.

    Attributes:
        distances: what makes distances of raw predictions x of a level: "exp", e^x px, or
            "relu_strides", max(x, 0) strides.
        score: of class probability times centerness, "product" or "root", its square root.
        limits_score: it is this score that must exceed INFERENCE_TH, not the class probability.
        loss_in_strides: box losses compare distances in strides of their level, not in px.
        divisors: what losses are divided by: "own", numbers of this process, for classes its
            positives and images; or "mean", of positives alone, the mean over all processes.
        enclosing_eps: added to the enclosing box of the GIoU loss.
    """

    distances: DistanceRule = "exp"
    score: ScoreRule = "product"
    limits_score: bool = False
    loss_in_strides: bool = False
    divisors: DivisorRule = "own"
    enclosing_eps: float = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class RoIRules:
    """How features of boxes are cut out, and masks compared. The defaults are the original's.

    Attributes:
        aligned: RoIAlign takes cells for their centres (shifts by half a cell, no least size).
        share_eps: added to image area / box area before CenterMask's Eq. 2 takes its logarithm.
        size_eps: added to box side / canonical side before FPN's Eq. 1 takes its logarithm.
        min_side: detections of a box head with a shorter side go, px.
        paste: how masks in boxes become pixels: "own", as boxes of this ``pixel_offset`` have it,
            or "inclusive", whatever that is.
        samples_positives: a mask head trains on at most the positives of an image that a box head
            would sample, BATCH_SIZE_PER_IMAGE * POSITIVE_FRACTION, drawn at random.
        min_mask_side: least side in px of the crop that a mask target is made of.
        area_ratio: the share of an object in its box, for targets of mask IoU: "raster", pixels
            by pixels, or "shoelace", pixels in the box by the polygons' areas, at most 1.
    """

    aligned: bool = False
    share_eps: float = 1e-6
    size_eps: float = 1e-6
    min_side: float = 0.0
    paste: PasteName = "own"
    samples_positives: bool = False
    min_mask_side: float = 1.0
    area_ratio: AreaRatioRule = "raster"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStageRules:
    """Losses of RPN and box head. The defaults are the original's.

    Attributes:
        rpn_beta: width of the quadratic part of the RPN's box loss; 0: there is none.
        counts_wanted: the RPN's losses are divided by the anchors that it is to sample, not by
            those that there are.
        box_beta: as ``rpn_beta``, of the box head's.
    """

    rpn_beta: float = 1 / 9
    counts_wanted: bool = False
    box_beta: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """The rules of one generation. The defaults are the original's.

    Attributes:
        pixel_offset: what a box adds to x2 - x1 to get its width: 1, corners are the first and the
            last pixel; 0, corners are edges. Every ``BoxList`` carries it, so that areas, IoUs,
            suppression, clipping, flips, pasted masks and results follow.
        keypoint_offset: the same of keypoints: 1, coordinates count pixels; 0, a pixel's centre
            lies half a pixel behind its first corner.
        clips_candidates: one-stage detectors clip boxes to the image before they suppress any.
        clips_detections: the model's detections are clipped to the image, and dropped where
            nothing is left, as the last step.
        best_first: detectors return their boxes by score, not as they lie in the maps.
        min_proposal_side: proposals of an RPN with a shorter side go, px.
        resize: sides of a resized image: "truncate", the longer one is cut to whole px; "nearest",
            both are rounded; "floor", both are cut.
        pixel_mean: INPUT.PIXEL_MEAN unless somebody gives another.
        heads_of: the program whose heads compute the same under these rules, so that they are
            taken from its files, too; "": none of those whose names differ.
        grid: see ``GridRules``.
        fcos: see ``FCOSRules``.
        roi: see ``RoIRules``.
        two_stage: see ``TwoStageRules``.
        settings: those with keys of their own that go with the rules: full name -> value. A file
            or command line that chooses the convention sets them, unless it gives them itself.
    """

    pixel_offset: int = 1
    keypoint_offset: int = 1
    clips_candidates: bool = True
    clips_detections: bool = False
    best_first: bool = False
    min_proposal_side: float = 0.0
    resize: RoundingRule = "truncate"
    pixel_mean: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    heads_of: ForeignProgram = ""
    grid: GridRules = field(default_factory=GridRules)
    fcos: FCOSRules = field(default_factory=FCOSRules)
    roi: RoIRules = field(default_factory=RoIRules)
    two_stage: TwoStageRules = field(default_factory=TwoStageRules)
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Convention:
        """The rules that MODEL.CONVENTION names.

        Raises:
            UnknownNameError: there is no such convention.
        """
        return CONVENTIONS[cfg.MODEL.CONVENTION]


LEGACY: Final = Convention()
"""CenterMask, maskrcnn-benchmark, Detectron."""

_ANY_EXTENT: Final = 1e-30
"""px; a box with any extent at all is longer."""

DETECTRON2: Final = Convention(
    pixel_offset=0,
    keypoint_offset=0,
    clips_candidates=False,
    clips_detections=True,
    best_first=True,
    resize="nearest",
    min_proposal_side=_ANY_EXTENT,
    pixel_mean=(103.53, 116.28, 123.675),
    heads_of="detectron2",
    grid=GridRules(anchors="exact"),
    fcos=FCOSRules(
        distances="relu_strides",
        score="root",
        loss_in_strides=True,
        divisors="mean",
        enclosing_eps=0.0,
    ),
    roi=RoIRules(
        aligned=True,
        share_eps=2.0**-52,
        size_eps=1e-8,
        samples_positives=True,
        min_mask_side=0.1,
        area_ratio="shoelace",
    ),
    two_stage=TwoStageRules(rpn_beta=0.0, counts_wanted=True, box_beta=0.0),
    settings=MappingProxyType(
        {
            # To the digit of the other program: "fast" rounds otherwise, and roots of scores show
            # it (1e-4 of a score with random weights).
            "TEST.INFERENCE_MODE": "plain",
            "MODEL.FCOS.INFERENCE_TH": 0.05,
            "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
            "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 0,
            "MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO": 0,
        }
    ),
)
"""detectron2, and CenterMask2 on it."""

TORCHVISION: Final = Convention(
    pixel_offset=0,
    best_first=True,
    min_proposal_side=1e-3,
    resize="floor",
    pixel_mean=(0.485, 0.456, 0.406),
    heads_of="torchvision",
    grid=GridRules(anchors="whole", pitch="image", centred=False),
    fcos=FCOSRules(distances="relu_strides", score="root", limits_score=True, loss_in_strides=True),
    roi=RoIRules(min_side=1e-2, paste="inclusive"),
    two_stage=TwoStageRules(box_beta=1 / 9),
    settings=MappingProxyType(
        {
            "INPUT.RESIZE_RULE": "shorter_side_floats",
            "INPUT.TO_BGR255": False,
            "INPUT.PIXEL_STD": [0.229, 0.224, 0.225],
            "MODEL.RESNETS.STRIDE_IN_1X1": False,
        }
    ),
)
"""The detectors of torchvision."""

CONVENTIONS: Final = Registry[Convention](
    "convention (MODEL.CONVENTION)",
    {"legacy": LEGACY, "detectron2": DETECTRON2, "torchvision": TORCHVISION},
)


def settings_of(name: str) -> Mapping[str, object]:
    """What choosing the convention of this name sets besides.

    Raises:
        UnknownNameError: there is no such convention.
    """
    return CONVENTIONS[name].settings
