import re
from dataclasses import dataclass, replace

import pytest

from maskrcnn_benchmark.config import ArchitectureSpec, ConfigError, get_default_config
from maskrcnn_benchmark.config.families import FAMILIES, Family
from maskrcnn_benchmark.config.roi_heads import ROI_HEAD_TRAITS

FCOS = ["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", True]
CENTERMASK = [*FCOS, "MODEL.MASK_ON", True, "MODEL.FCOS_MASK", True]
RETINANET = ["MODEL.RPN_ONLY", True, "MODEL.RETINANET_ON", True]
MASK = ["MODEL.MASK_ON", True]
MASKIOU = ["MODEL.MASKIOU_ON", True]
KEYPOINT = ["MODEL.KEYPOINT_ON", True]


def _spec(*overrides) -> ArchitectureSpec:
    cfg = get_default_config()
    cfg.merge_from_list(list(overrides))
    return ArchitectureSpec.from_config(cfg)


@pytest.mark.parametrize(
    ("overrides", "proposal", "roi_heads"),
    [
        # FCOS and CenterMask
        (FCOS, "fcos", ()),
        (CENTERMASK, "fcos", ("mask",)),
        ([*CENTERMASK, *MASKIOU], "fcos", ("mask", "maskiou")),
        ([*FCOS, *MASK], "fcos", ("mask",)),
        ([*CENTERMASK, *MASKIOU, *KEYPOINT], "fcos", ("mask", "maskiou", "keypoint")),
        # two-stage models, whose YAMLs say nothing about FCOS
        ([], "rpn", ("box",)),
        (["MODEL.FCOS_ON", False], "rpn", ("box",)),
        (MASK, "rpn", ("box", "mask")),
        ([*MASK, *MASKIOU], "rpn", ("box", "mask", "maskiou")),
        (KEYPOINT, "rpn", ("box", "keypoint")),
        ([*MASK, *KEYPOINT], "rpn", ("box", "mask", "keypoint")),
        # region proposals alone
        (["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", False], "rpn", ()),
        # RetinaNet, which wins over FCOS
        (RETINANET, "retinanet", ()),
        ([*RETINANET, *FCOS], "retinanet", ()),
        ([*RETINANET, "MODEL.FCOS_ON", False], "retinanet", ()),
        ([*RETINANET, "MODEL.RPN_ONLY", False], "retinanet", ()),
        ([*RETINANET, *MASK], "retinanet", ("mask",)),
        ([*RETINANET, *CENTERMASK, *MASKIOU], "retinanet", ("mask", "maskiou")),
        # FCOS_MASK means nothing where FCOS is not the proposal stage
        (["MODEL.FCOS_MASK", True], "rpn", ("box",)),
        # ... nor without masks: MASK_ON False alone makes a model of boxes.
        ([*FCOS, "MODEL.FCOS_MASK", True], "fcos", ()),
        ([*RETINANET, "MODEL.FCOS_MASK", True], "retinanet", ()),
    ],
)
def test_flags_decode_to_an_architecture(overrides, proposal, roi_heads):
    """upstream: fcos-needs-rpn-only"""
    spec = _spec(*overrides)
    assert (spec.proposal, spec.roi_heads, spec.num_classes) == (proposal, roi_heads, 81)


@pytest.mark.parametrize(
    ("overrides", "iou_types", "box_only"),
    [
        (FCOS, ("bbox",), False),
        (CENTERMASK, ("bbox", "segm"), False),
        ([*CENTERMASK, *MASKIOU], ("bbox", "segm"), False),
        ([], ("bbox",), False),
        (MASK, ("bbox", "segm"), False),
        (KEYPOINT, ("bbox", "keypoints"), False),
        ([*MASK, *KEYPOINT], ("bbox", "segm", "keypoints"), False),
        (["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", False], ("bbox",), True),
        (RETINANET, ("bbox",), False),
        ([*RETINANET, *MASK], ("bbox", "segm"), False),
    ],
)
def test_an_architecture_knows_what_can_be_evaluated(overrides, iou_types, box_only):
    spec = _spec(*overrides)
    assert (spec.iou_types, spec.box_only) == (iou_types, box_only)


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (MASKIOU, ["MODEL.MASKIOU_ON", "MODEL.MASK_ON"]),
        ([*FCOS, *MASKIOU], ["MODEL.MASKIOU_ON", "MODEL.MASK_ON"]),
        ([*CENTERMASK, "MODEL.FCOS_ON", False], ["MODEL.RPN_ONLY", "MODEL.MASK_ON"]),
        (
            ["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", False, *KEYPOINT],
            ["MODEL.RPN_ONLY", "MODEL.KEYPOINT_ON"],
        ),
    ],
)
def test_contradicting_flags_are_named(overrides, keys):
    with pytest.raises(ConfigError) as error:
        _spec(*overrides)
    assert all(key in str(error.value) for key in keys)


FCOS_CLASSES = "MODEL.FCOS.NUM_CLASSES"
RETINANET_CLASSES = "MODEL.RETINANET.NUM_CLASSES"
HEAD_CLASSES = "MODEL.ROI_BOX_HEAD.NUM_CLASSES"


@pytest.mark.parametrize(
    ("overrides", "num_classes"),
    [
        # the original keys decide, and only those of the architecture count
        ([*FCOS, FCOS_CLASSES, 21], 21),
        ([*FCOS, FCOS_CLASSES, 21, HEAD_CLASSES, 9], 21),
        ([*CENTERMASK, FCOS_CLASSES, 21, HEAD_CLASSES, 21], 21),
        ([HEAD_CLASSES, 2], 2),
        ([*MASK, HEAD_CLASSES, 9, FCOS_CLASSES, 4], 9),
        ([*RETINANET, RETINANET_CLASSES, 21], 21),
        ([*RETINANET, *MASK, RETINANET_CLASSES, 21, HEAD_CLASSES, 21], 21),
        # keypoints are not classes
        ([*KEYPOINT, HEAD_CLASSES, 2, "MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES", 5], 2),
        # MODEL.NUM_CLASSES decides; original keys at their default do not matter
        ([*CENTERMASK, "MODEL.NUM_CLASSES", 5], 5),
        ([*CENTERMASK, "MODEL.NUM_CLASSES", 5, FCOS_CLASSES, 5], 5),
        ([*CENTERMASK, "MODEL.NUM_CLASSES", 5, RETINANET_CLASSES, 9], 5),
        (["MODEL.NUM_CLASSES", 5], 5),
        ([*RETINANET, "MODEL.NUM_CLASSES", 5], 5),
    ],
)
def test_the_class_count_has_one_source(overrides, num_classes):
    """upstream: one-class-count"""
    assert _spec(*overrides).num_classes == num_classes


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([*CENTERMASK, FCOS_CLASSES, 21], [f"{FCOS_CLASSES} = 21", f"{HEAD_CLASSES} = 81"]),
        (
            [*RETINANET, *MASK, HEAD_CLASSES, 9],
            [f"{RETINANET_CLASSES} = 81", f"{HEAD_CLASSES} = 9"],
        ),
        (
            [*CENTERMASK, "MODEL.NUM_CLASSES", 5, HEAD_CLASSES, 9],
            ["MODEL.NUM_CLASSES = 5", f"{HEAD_CLASSES} = 9"],
        ),
        (["MODEL.NUM_CLASSES", 1], ["MODEL.NUM_CLASSES", "at least 2", "got 1"]),
        ([*FCOS, FCOS_CLASSES, 0], [FCOS_CLASSES, "at least 2", "got 0"]),
    ],
)
def test_class_counts_that_cannot_be_are_named(overrides, parts):
    """upstream: one-class-count"""
    with pytest.raises(ConfigError) as error:
        _spec(*overrides)
    assert all(part in str(error.value) for part in parts)


@dataclass(frozen=True)
class TinySettings:
    num_prototypes: int = 4


@pytest.fixture
def tiny(monkeypatch):
    """A detector that gives labels and masks, and has a setting of its own."""
    monkeypatch.setattr(FAMILIES, "_entries", dict(FAMILIES))
    FAMILIES.register("tiny", Family(build=list, gives_masks=True, settings=TinySettings))
    return ["MODEL.DENSE.FAMILY", "tiny", "MODEL.NUM_CLASSES", 4]


def test_a_detector_chosen_by_name_says_what_it_gives(tiny):
    spec = _spec(*tiny, "MODEL.DENSE.SETTINGS.NUM_PROTOTYPES", 3)
    assert spec == ArchitectureSpec("tiny", (), 4, TinySettings(num_prototypes=3))
    assert spec.iou_types == ("bbox", "segm")
    assert not spec.box_only


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (MASK, "MODEL.MASK_ON: expected False with the dense detector 'tiny', which gives masks"),
        (["MODEL.NUM_CLASSES", 0], "MODEL.NUM_CLASSES expects at least 2"),
        (["MODEL.DENSE.SETTINGS.PROTOTYPES", 3], "nearest known key is .*NUM_PROTOTYPES"),
        (["MODEL.DENSE.FAMILY", "fcos"], "unknown key MODEL.DENSE.SETTINGS.NUM_PROTOTYPES"),
        (["MODEL.DENSE.FAMILY", ""], "unknown key MODEL.DENSE.SETTINGS.NUM_PROTOTYPES"),
    ],
)
def test_what_does_not_fit_a_detector_is_named(tiny, overrides, message):
    with pytest.raises(ConfigError, match=message):
        _spec(*tiny, "MODEL.DENSE.SETTINGS.NUM_PROTOTYPES", 3, *overrides)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("fcos", CENTERMASK),
        ("retinanet", [*RETINANET, *MASK]),
        ("rpn", MASK),
        ("rpn", ["MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", False]),
    ],
)
def test_the_name_and_the_flags_choose_the_same(name, flags):
    assert _spec(*flags, "MODEL.DENSE.FAMILY", name) == _spec(*flags)


def test_the_name_wins_over_the_flags():
    assert _spec(*RETINANET, "MODEL.DENSE.FAMILY", "fcos").proposal == "fcos"


def test_a_spec_is_a_value():
    assert _spec(*CENTERMASK) == _spec(*CENTERMASK)
    with pytest.raises(AttributeError):
        _spec().proposal = "fcos"


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("configs/e2e_faster_rcnn_R_50_FPN_1x.yaml", "the detector 'rpn' and the box head"),
        ("configs/retinanet/retinanet_R-50-FPN_1x.yaml", "the detector 'retinanet'"),
    ],
)
def test_parts_of_one_set_of_rules_take_no_other(config: str, part: str, monkeypatch):
    """As far as there are any: those of scripts, at least."""
    cfg = get_default_config()
    cfg.merge_from_file(config)
    for registry in (FAMILIES, ROI_HEAD_TRAITS):
        old = {name: replace(entry, has_rules=False) for name, entry in registry.items()}
        monkeypatch.setattr(registry, "_entries", old)
    assert ArchitectureSpec.from_config(cfg)
    cfg.MODEL.CONVENTION = "detectron2"
    with pytest.raises(ConfigError, match=re.escape(part)):
        ArchitectureSpec.from_config(cfg)
