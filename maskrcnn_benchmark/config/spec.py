"""What the flags of a configuration mean together: the only reader of the ``*_ON`` keys."""

from dataclasses import dataclass
from typing import Any

from maskrcnn_benchmark.config.convention import LEGACY, Convention
from maskrcnn_benchmark.config.defaults import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.families import FAMILIES, Family, read_settings
from maskrcnn_benchmark.config.node import CfgNode
from maskrcnn_benchmark.config.roi_heads import ROI_HEAD_TRAITS

_HEADS_CLASS_KEY = "MODEL.ROI_BOX_HEAD.NUM_CLASSES"


@dataclass(frozen=True, slots=True)
class ArchitectureSpec:
    """The architecture that a configuration describes.

    Attributes:
        proposal: the dense detector that finds boxes, a key of ``FAMILIES``.
        roi_heads: names of the heads that work on them, keys of ``ROI_HEAD_TRAITS``, in the order
            in which they run.
        num_classes: number of classes, background included; without meaning if ``box_only``.
        settings: those that the detector has of its own, of the class ``Family.settings``.
    """

    proposal: str
    roi_heads: tuple[str, ...]
    num_classes: int
    settings: Any = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ArchitectureSpec":
        """The architecture that the flags of ``cfg`` describe.

        Raises:
            ConfigError: when flags contradict each other, class counts differ, or a part does not
                know the rules that MODEL.CONVENTION names.
        """
        proposal = cfg.MODEL.DENSE.FAMILY or _proposal_of_flags(cfg)
        family = FAMILIES[proposal]
        roi_heads = _roi_heads(cfg, proposal, family)
        _check_rules(cfg, proposal, roi_heads)
        return cls(
            proposal=proposal,
            roi_heads=roi_heads,
            num_classes=_num_classes(cfg, family, roi_heads),
            settings=read_settings(cfg.MODEL.DENSE.SETTINGS, family.settings),
        )

    @property
    def iou_types(self) -> tuple[str, ...]:
        """The COCO tasks that the detections can be evaluated in, "bbox" first."""
        own = ("segm",) if FAMILIES[self.proposal].gives_masks else ()
        given = (ROI_HEAD_TRAITS[name].iou_type for name in self.roi_heads)
        return ("bbox", *dict.fromkeys((*own, *filter(None, given))))

    @property
    def target_fields(self) -> dict[str, str]:
        """Fields that targets need besides ``labels``, each with the key that asks for it."""
        own = {"masks": "MODEL.DENSE.FAMILY"} if FAMILIES[self.proposal].gives_masks else {}
        traits = [ROI_HEAD_TRAITS[name] for name in self.roi_heads]
        return own | {
            each.target_field: f"MODEL.{each.flag}" for each in traits if each.target_field
        }

    @property
    def pixel_offset(self) -> int | None:
        """Of the boxes in targets; None: as MODEL.CONVENTION has it."""
        return FAMILIES[self.proposal].pixel_offset

    @property
    def learns_crowds(self) -> bool:
        """Whether targets are to have crowds, too."""
        return FAMILIES[self.proposal].learns_crowds

    @property
    def box_only(self) -> bool:
        """Whether the detections are proposals without classes."""
        return not self.roi_heads and not FAMILIES[self.proposal].gives_labels


def _proposal_of_flags(cfg: CfgNode) -> str:
    if cfg.MODEL.RETINANET_ON:
        return "retinanet"
    # UPSTREAM(fcos-needs-rpn-only): there FCOS_ON alone, which is on by default, chose FCOS, so
    # that two-stage YAMLs written without the key silently built something else.
    if cfg.MODEL.FCOS_ON and cfg.MODEL.RPN_ONLY:
        return "fcos"
    return "rpn"


def _roi_heads(cfg: CfgNode, proposal: str, family: Family) -> tuple[str, ...]:
    model = cfg.MODEL
    if family.gives_masks and model.MASK_ON:
        raise ConfigError(
            f"MODEL.MASK_ON: expected False with the dense detector {proposal!r}, which gives "
            "masks itself, got True"
        )
    has_box = not family.gives_labels and not model.RPN_ONLY
    known = sorted(ROI_HEAD_TRAITS.items(), key=lambda item: item[1].position)
    # A head from outside the package need not have its flag in everybody's settings.
    heads = {
        name: traits
        for name, traits in known
        if (model.get(traits.flag, False) if traits.flag else has_box)
    }
    for traits in heads.values():
        if traits.works_on in family.heads:
            raise ConfigError(
                f"MODEL.{traits.flag}: expected False with the dense detector {proposal!r}, whose "
                f"{traits.works_on} head is another one, got True"
            )
        if traits.works_on and traits.works_on not in heads:
            needed = ROI_HEAD_TRAITS[traits.works_on].flag
            raise ConfigError(
                f"MODEL.{traits.flag} is True, which needs MODEL.{needed} True, got False"
            )
    if not family.gives_labels and heads and not has_box:
        first, traits = next(iter(heads.items()))
        raise ConfigError(
            f"MODEL.RPN_ONLY is True, so RPN proposals get no classes, but the {first} head "
            f"(MODEL.{traits.flag}) needs them; set MODEL.RPN_ONLY False, or choose FCOS "
            "(MODEL.FCOS_ON True) or RetinaNet (MODEL.RETINANET_ON True)"
        )
    return tuple(heads)


def _check_rules(cfg: CfgNode, proposal: str, roi_heads: tuple[str, ...]) -> None:
    if Convention.from_config(cfg) == LEGACY:
        return
    without = [] if FAMILIES[proposal].has_rules else [f"the detector {proposal!r}"]
    without += [f"the {name} head" for name in roi_heads if not ROI_HEAD_TRAITS[name].has_rules]
    if without:
        raise ConfigError(
            f"MODEL.CONVENTION is {cfg.MODEL.CONVENTION!r}, but {' and '.join(without)} can "
            'compute by the rules of "legacy" alone'
        )


def class_keys(cfg: CfgNode) -> tuple[str, ...]:
    """Full names of the settings that say how many classes a model has, MODEL.NUM_CLASSES first."""
    proposal = cfg.MODEL.DENSE.FAMILY or _proposal_of_flags(cfg)
    family = FAMILIES[proposal]
    keys = _class_keys(family, _roi_heads(cfg, proposal, family))
    return tuple(dict.fromkeys(("MODEL.NUM_CLASSES", *keys)))


def options_without_masks(cfg: CfgNode) -> tuple[str, ...]:
    """What makes a model of ``cfg`` one of boxes alone: names and values of settings in turn.

    Empty if the masks come from the dense detector itself, which cannot do without.
    """
    flags = ("MASK_ON", "MASKIOU_ON", "FCOS_MASK")
    on = [flag for flag in flags if cfg.MODEL[flag]]
    return tuple(word for flag in on for word in (f"MODEL.{flag}", "False"))


def _class_keys(family: Family, roi_heads: tuple[str, ...]) -> tuple[str, ...]:
    keys = family.class_keys
    if not keys or any(ROI_HEAD_TRAITS[name].has_classes for name in roi_heads):
        keys = (*keys, _HEADS_CLASS_KEY)
    return keys


def _num_classes(cfg: CfgNode, family: Family, roi_heads: tuple[str, ...]) -> int:
    keys = _class_keys(family, roi_heads)
    # UPSTREAM(one-class-count): there every part read a key of its own, and keys that differed
    # made parts that did not fit one another.
    counts: dict[str, int] = {key: cfg.lookup(key) for key in keys}
    chosen: int = cfg.MODEL.NUM_CLASSES
    if chosen:
        defaults = get_default_config()
        counts = {key: n for key, n in counts.items() if n != defaults.lookup(key)}
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
