"""What TensorMask alone has to be told: the keys of MODEL.DENSE.SETTINGS, in capitals there."""

from dataclasses import dataclass

from maskrcnn_benchmark.config.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TensorMaskSettings:
    """Sizes of the model, thresholds and weights of the losses; defaults are the published ones.

    Args:
        anchor_sizes: sides of the windows of a cell of the finest map, px, ascending; each coarser
            map has windows of twice the sides. A multiple of the finest stride.
        num_convs: convolutions of a tower.
        cls_channels, bbox_channels, mask_channels: of the towers.
        prior_prob: class probability at the start.
        bipyramid_on: masks are predicted at the finest map's resolution on every level.
        aligned_on: a pixel stores the masks of all windows that cover it; without it a cell stores
            its own, which goes without the bipyramid alone.
        score_threshold: a window is a candidate if a class is more probable.
        nms_top_n: best candidates of an image that are looked at.
        nms_threshold: of two boxes of one class with a higher IoU the worse one goes.
        focal_gamma, focal_alpha: steepness of the class loss, and weight of positives in it.
        mask_weight: factor of the mask loss.
        positive_weight: factor of an object's own pixels in it.
    """

    anchor_sizes: tuple[int, ...] = (44, 60)
    num_convs: int = 4
    cls_channels: int = 256
    bbox_channels: int = 128
    mask_channels: int = 128
    prior_prob: float = 0.01
    bipyramid_on: bool = True
    aligned_on: bool = True
    score_threshold: float = 0.05
    nms_top_n: int = 6000
    nms_threshold: float = 0.5
    focal_gamma: float = 3.0
    focal_alpha: float = 0.3
    mask_weight: float = 2.0
    positive_weight: float = 1.5

    def __post_init__(self) -> None:
        sizes = self.anchor_sizes
        at_least_1 = ("num_convs", "cls_channels", "bbox_channels", "mask_channels", "nms_top_n")
        checks = [(name, "at least 1", getattr(self, name) >= 1) for name in at_least_1]
        checks += [
            ("anchor_sizes", "different sides, ascending, at least one", _ascend(sizes)),
            ("prior_prob", "a number between 0 and 1", 0 < self.prior_prob < 1),
            ("focal_alpha", "a number in [0, 1]", 0 <= self.focal_alpha <= 1),
            ("focal_gamma", "a positive number", self.focal_gamma > 0),
            ("aligned_on", "True with BIPYRAMID_ON True", self.aligned_on or not self.bipyramid_on),
        ]
        for name, expected, is_met in checks:
            if not is_met:
                raise ConfigError(
                    f"MODEL.DENSE.SETTINGS.{name.upper()}: expected {expected}, "
                    f"got {getattr(self, name)!r}"
                )


def _ascend(sizes: tuple[int, ...]) -> bool:
    return bool(sizes) and sizes[0] >= 1 and list(sizes) == sorted(set(sizes))
