"""What settings and data have to know of each RoI head.

``modeling/registry.py`` has their builders, under the same names.
"""

from dataclasses import dataclass
from typing import Final

from maskrcnn_benchmark.config.registry import Registry


@dataclass(frozen=True, slots=True)
class RoIHeadTraits:
    """A head, seen from outside.

    Attributes:
        position: heads run in ascending order of it.
        flag: key below MODEL that switches the head on; "" for the box head, which every
            two-stage detector has, and no other.
        works_on: name of the head without whose results it cannot work, or "".
        has_classes: whether it predicts for each class, so that its class count must be the
            model's.
        target_field: field that targets need besides ``labels``, "masks" or "keypoints", or "".
        iou_type: COCO task that its results can be evaluated in, "segm" or "keypoints", or "".
        has_rules: it computes by the rules that MODEL.CONVENTION names; others know the original's.
    """

    position: int
    flag: str
    works_on: str = ""
    has_classes: bool = False
    target_field: str = ""
    iou_type: str = ""
    has_rules: bool = False


ROI_HEAD_TRAITS: Final = Registry[RoIHeadTraits]("RoI head")
ROI_HEAD_TRAITS.register("box", RoIHeadTraits(10, "", has_classes=True, has_rules=True))
ROI_HEAD_TRAITS.register(
    "mask",
    RoIHeadTraits(
        20, "MASK_ON", has_classes=True, target_field="masks", iou_type="segm", has_rules=True
    ),
)
ROI_HEAD_TRAITS.register(
    "maskiou", RoIHeadTraits(30, "MASKIOU_ON", works_on="mask", has_classes=True, has_rules=True)
)
ROI_HEAD_TRAITS.register(
    "keypoint",
    RoIHeadTraits(
        40, "KEYPOINT_ON", target_field="keypoints", iou_type="keypoints", has_rules=True
    ),
)
