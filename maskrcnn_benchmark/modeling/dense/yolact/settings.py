"""What YOLACT alone has to be told: the keys of MODEL.DENSE.SETTINGS, in capitals there."""

from dataclasses import dataclass

from maskrcnn_benchmark.config.errors import ConfigError

_NMS = ("fast", "cross_class", "traditional")


@dataclass(frozen=True, slots=True)
class YolactSettings:
    """Sizes of the model, thresholds and weights of the losses; defaults are YOLACT-550's.

    Args:
        anchor_frame: side of the square, px, that ``anchor_sizes`` are meant in.
        anchor_sizes: base size of the anchors of P3..P7, px.
        anchor_scales: factors of the base size, each with all ratios.
        anchor_ratios: width by height.
        square_anchors: heights are the widths, so that ratios change the size alone.
        num_prototypes: P.
        score_threshold: an anchor is a candidate if its best class is more probable.
        nms: "fast", "cross_class" or "traditional".
        nms_threshold: IoU from which one box suppresses another.
        nms_top_n: best candidates of a class (of all, "cross_class") that are looked at.
        masks_to_train: positives of an image whose masks are trained on, at most.
        maskiou_on: masks are re-scored by their predicted IoU (YOLACT++).
        positive_iou, negative_iou: anchors are objects from the one on, background below the other.
        crowd_share: background with more of its area in one crowd is not trained on.
        negatives_per_positive: of the background, the hardest so many times the positives.
        box_weight, mask_weight, segm_weight, maskiou_weight: factors of the losses.
        min_maskiou_area: px of a true mask that re-scoring learns from, more than.
    """

    anchor_frame: int = 550
    anchor_sizes: tuple[int, ...] = (24, 48, 96, 192, 384)
    anchor_scales: tuple[float, ...] = (1.0,)
    anchor_ratios: tuple[float, ...] = (1.0, 0.5, 2.0)
    square_anchors: bool = True
    num_prototypes: int = 32
    score_threshold: float = 0.05
    nms: str = "fast"
    nms_threshold: float = 0.5
    nms_top_n: int = 200
    masks_to_train: int = 100
    maskiou_on: bool = False
    positive_iou: float = 0.5
    negative_iou: float = 0.4
    crowd_share: float = 0.7
    negatives_per_positive: int = 3
    box_weight: float = 1.5
    mask_weight: float = 6.125
    segm_weight: float = 1.0
    maskiou_weight: float = 25.0
    min_maskiou_area: int = 25

    def __post_init__(self) -> None:
        at_least_1 = ("anchor_frame", "num_prototypes", "nms_top_n", "masks_to_train")
        checks = [(name, "at least 1", getattr(self, name) >= 1) for name in at_least_1]
        checks += [
            (name, "at least one positive number", bool(values) and min(values) > 0)
            for name in ("anchor_sizes", "anchor_scales", "anchor_ratios")
            for values in [getattr(self, name)]
        ]
        checks += [
            ("nms", f"one of {', '.join(_NMS)}", self.nms in _NMS),
            ("negative_iou", "at most POSITIVE_IOU", self.negative_iou <= self.positive_iou),
        ]
        for name, expected, is_met in checks:
            if not is_met:
                raise ConfigError(
                    f"MODEL.DENSE.SETTINGS.{name.upper()}: expected {expected}, "
                    f"got {getattr(self, name)!r}"
                )

    @property
    def num_anchors(self) -> int:
        """Anchors of a cell."""
        return len(self.anchor_scales) * len(self.anchor_ratios)
