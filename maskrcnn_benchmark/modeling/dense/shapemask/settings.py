"""What ShapeMask alone has to be told: the keys of MODEL.DENSE.SETTINGS, in capitals there."""

from dataclasses import dataclass

from maskrcnn_benchmark.config.errors import ConfigError

_TRAINED = ("all", "voc", "nonvoc")


@dataclass(frozen=True, slots=True)
class ShapeMaskSettings:
    """Sizes of the model, thresholds and weights of the losses; defaults are the authors'.

    Args:
        anchor_size: side of the smallest anchor of a level, in strides.
        anchor_octaves: sizes of anchors from one level to the next.
        anchor_ratios: width by height.
        score_threshold: a detection's probability must exceed it.
        nms_threshold: IoU above which a box suppresses others of its class.
        pre_nms_top_n: best anchors of a class that are looked at.
        positive_iou: anchors learn an object from this IoU on, and are background below.
        focal_alpha, focal_gamma: of the classification loss.
        huber_delta: of the box loss: beyond it the loss is linear.
        box_weight, prior_weight, coarse_weight, fine_weight: factors of the losses.
        num_priors: shapes of a class, K.
        priors_file: ``.npy`` (C, K, 32, 32) with the background's row first, as
            ``tools/make_shape_priors.py`` writes; "": those of the weights that are loaded, or made
            of the objects to train on.
        class_agnostic: one mask for all classes.
        outer_scale: a mask covers its box enlarged by this factor.
        mask_channels: channels of the mask branch.
        num_sampled: objects of a photo whose masks are trained on.
        jitter: deviation of the noise on their boxes, in parts of their sides.
        mask_train_class: whose masks are trained: "all"; "voc", COCO's classes that PASCAL VOC has;
            "nonvoc", the others.
    """

    anchor_size: float = 4.0
    anchor_octaves: int = 3
    anchor_ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    pre_nms_top_n: int = 5000
    positive_iou: float = 0.5
    focal_alpha: float = 0.4
    focal_gamma: float = 1.5
    huber_delta: float = 0.15
    box_weight: float = 50.0
    prior_weight: float = 0.1
    coarse_weight: float = 1.0
    fine_weight: float = 1.0
    num_priors: int = 20
    priors_file: str = ""
    class_agnostic: bool = False
    outer_scale: float = 1.25
    mask_channels: int = 128
    num_sampled: int = 8
    jitter: float = 0.025
    mask_train_class: str = "all"

    def __post_init__(self) -> None:
        names = ("anchor_octaves", "num_priors", "num_sampled", "mask_channels")
        limits = {name: 1 for name in names} | {"jitter": 0, "outer_scale": 1}
        for name, lowest in limits.items():
            if getattr(self, name) < lowest:
                raise ConfigError(
                    f"MODEL.DENSE.SETTINGS.{name.upper()}: expected at least {lowest}, got "
                    f"{getattr(self, name)}"
                )
        for name in ("anchor_size", "anchor_ratios", "huber_delta"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if min(numbers, default=0) <= 0:
                raise ConfigError(
                    f"MODEL.DENSE.SETTINGS.{name.upper()}: expected more than 0, got {value}"
                )
        if self.mask_train_class not in _TRAINED:
            raise ConfigError(
                f"MODEL.DENSE.SETTINGS.MASK_TRAIN_CLASS: expected one of {', '.join(_TRAINED)}; "
                f"got {self.mask_train_class!r}"
            )

    @property
    def num_anchors(self) -> int:
        """Anchors of a cell."""
        return self.anchor_octaves * len(self.anchor_ratios)
