"""The keys of the original keep path, type and default; the new ones are these and no others."""

import ast

import pytest

from maskrcnn_benchmark.config import defaults, get_default_config
from tests.golden_data import golden_json

NEW_KEYS = {
    "MODEL.NUM_CLASSES": 0,
    "MODEL.CHANNELS_LAST": False,
    "MODEL.RPN.FPN_POST_NMS_PER_BATCH": True,
    "MODEL.RETINANET.SELFADJUST_SMOOTH_L1": False,
    "MODEL.RETINANET.LOW_QUALITY_MATCHES": True,
    "MODEL.RETINANET.LOW_QUALITY_THRESHOLD": 0.0,
    "MODEL.RETINANET.NUM_MASKS_TEST": 50,
    "MODEL.RESNETS.STAGE_WITH_DCN": (False, False, False, False),
    "MODEL.RESNETS.WITH_MODULATED_DCN": False,
    "MODEL.RESNETS.DEFORMABLE_GROUPS": 1,
    "MODEL.ROI_MASK_HEAD.LOGITS_INIT_STD": 0.0,
    "INPUT.FLIP_PROB_TRAIN": 0.5,
    "SOLVER.OPTIMIZER": "SGD",
    "SOLVER.LR_SCHEDULE": "multistep",
    "SOLVER.CLIP_GRAD_NORM": 0.0,
    "SOLVER.LOG_PERIOD": 20,
    "TEST.COCO_BACKEND": "hotcoco",
    "TEST.EXPECTED_RESULTS_DATASETS": (),
    "SEED": 0,
}


def _flatten(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _original() -> dict:
    reference = golden_json("defaults")
    kinds = {"tuple": tuple, "list": list, "int": int, "float": float, "bool": bool, "str": str}
    return {
        key: kinds[reference["types"][key]](value) for key, value in _flatten(reference["config"])
    }


def test_the_reference_is_complete():
    assert len(_original()) == len(golden_json("defaults")["types"]) == 198


@pytest.mark.parametrize(("key", "expected"), _original().items())
def test_a_key_of_the_original_keeps_path_type_and_default(key, expected):
    value = dict(get_default_config().leaves())[key]
    assert value == expected
    assert type(value) is type(expected)


def test_new_keys_are_exactly_the_listed_ones():
    ours = dict(get_default_config().leaves())
    new = {key: value for key, value in ours.items() if key not in _original()}
    assert new == NEW_KEYS
    assert {k: type(v) for k, v in new.items()} == {k: type(v) for k, v in NEW_KEYS.items()}


@pytest.mark.parametrize("module", [defaults, defaults.defaults_model, defaults.defaults_heads])
def test_every_key_has_a_comment_in_front_of_it(module):
    with open(module.__file__) as file:
        source = file.read()
    lines = source.splitlines()
    settings = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and not isinstance(node.value, ast.Call)
    ]
    undocumented = [
        lines[node.lineno - 1]
        for node in settings
        if not lines[node.lineno - 2].startswith("# ") or not lines[node.lineno - 2].endswith(".")
    ]
    assert settings
    assert undocumented == []


def test_the_defaults_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        defaults._C.SEED = 1
