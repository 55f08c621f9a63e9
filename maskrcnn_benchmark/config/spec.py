"""What the flags of a configuration mean together: the only reader of the ``*_ON`` keys."""

import functools
import operator
from dataclasses import dataclass
from typing import Literal

from maskrcnn_benchmark.config.defaults import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.node import CfgNode

Proposal = Literal["fcos", "rpn", "retinanet"]

_PROPOSAL_CLASS_KEYS = {
    "fcos": ("MODEL.FCOS.NUM_CLASSES",),
    "retinanet": ("MODEL.RETINANET.NUM_CLASSES",),
    "rpn": (),
}
_HEADS_CLASS_KEY = "MODEL.ROI_BOX_HEAD.NUM_CLASSES"
_HEADS_WITH_CLASSES = frozenset({"box", "mask", "maskiou"})


@dataclass(frozen=True, slots=True)
class ArchitectureSpec:
    """The architecture that a configuration describes.

    Attributes:
        proposal: the stage that finds boxes.
        roi_heads: the heads that work on them, in this order: "box", "mask", "maskiou",
            "keypoint".
        num_classes: number of classes, background included; without meaning if `box_only`.
    """

    proposal: Proposal
    roi_heads: tuple[str, ...]
    num_classes: int

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ArchitectureSpec":
        """The architecture that the flags of ``cfg`` describe.

        Raises:
            ConfigError: when flags contradict each other, or class counts differ.
        """
        proposal = _proposal(cfg)
        roi_heads = _roi_heads(cfg, proposal)
        return cls(proposal, roi_heads, _num_classes(cfg, proposal, roi_heads))

    @property
    def iou_types(self) -> tuple[str, ...]:
        """The COCO tasks that the detections can be evaluated in, "bbox" first."""
        segm = ("segm",) if "mask" in self.roi_heads else ()
        keypoints = ("keypoints",) if "keypoint" in self.roi_heads else ()
        return ("bbox", *segm, *keypoints)

    @property
    def box_only(self) -> bool:
        """Whether the detections are proposals without classes."""
        return self.proposal == "rpn" and not self.roi_heads


def _proposal(cfg: CfgNode) -> Proposal:
    if cfg.MODEL.RETINANET_ON:
        return "retinanet"
    # UPSTREAM(fcos-needs-rpn-only): there FCOS_ON alone, which is on by default, chose FCOS, so
    # that two-stage YAMLs written without the key silently built something else.
    if cfg.MODEL.FCOS_ON and cfg.MODEL.RPN_ONLY:
        return "fcos"
    return "rpn"


def _roi_heads(cfg: CfgNode, proposal: Proposal) -> tuple[str, ...]:
    model = cfg.MODEL
    if model.MASKIOU_ON and not model.MASK_ON:
        raise ConfigError("MODEL.MASKIOU_ON is True, which needs MODEL.MASK_ON True, got False")
    if proposal == "fcos" and model.FCOS_MASK and not model.MASK_ON:
        raise ConfigError("MODEL.FCOS_MASK is True, which needs MODEL.MASK_ON True, got False")
    flags = {
        "box": proposal == "rpn" and not model.RPN_ONLY,
        "mask": model.MASK_ON,
        "maskiou": model.MASKIOU_ON,
        "keypoint": model.KEYPOINT_ON,
    }
    heads = tuple(name for name, is_on in flags.items() if is_on)
    if proposal == "rpn" and heads and "box" not in heads:
        raise ConfigError(
            f"MODEL.RPN_ONLY is True, so RPN proposals get no classes, but the {heads[0]} head "
            f"({_flag(heads[0])}) needs them; set MODEL.RPN_ONLY False, or choose FCOS "
            "(MODEL.FCOS_ON True) or RetinaNet (MODEL.RETINANET_ON True)"
        )
    return heads


def _flag(head: str) -> str:
    return f"MODEL.{head.upper()}_ON"


def _num_classes(cfg: CfgNode, proposal: Proposal, roi_heads: tuple[str, ...]) -> int:
    keys = _PROPOSAL_CLASS_KEYS[proposal]
    if not keys or _HEADS_WITH_CLASSES.intersection(roi_heads):
        keys = (*keys, _HEADS_CLASS_KEY)
    # UPSTREAM(one-class-count): there every part read a key of its own, and keys that differed
    # made parts that did not fit one another.
    counts = {key: _lookup(cfg, key) for key in keys}
    chosen: int = cfg.MODEL.NUM_CLASSES
    if chosen:
        defaults = get_default_config()
        counts = {key: n for key, n in counts.items() if n != _lookup(defaults, key)}
        counts["MODEL.NUM_CLASSES"] = chosen
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} = {n}" for key, n in counts.items())
        raise ConfigError(
            f"the class counts of one model differ: {listed} (background included); "
            "set MODEL.NUM_CLASSES alone, or give all the same number"
        )
    key, count = counts.popitem()
    if count < 2:
        raise ConfigError(f"{key} expects at least 2 (background and one class), got {count}")
    return count


def _lookup(cfg: CfgNode, key: str) -> int:
    count: int = functools.reduce(operator.getitem, key.split("."), cfg)
    return count
