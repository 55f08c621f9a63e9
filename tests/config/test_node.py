from pathlib import Path

import pytest

import maskrcnn_benchmark.config as config_module
from maskrcnn_benchmark.config import CfgNode, ConfigError, get_default_config


@pytest.fixture
def cfg() -> CfgNode:
    return get_default_config()


def _yaml(folder: Path, text: str, name: str = "user.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_global_configuration_is_the_default_one(cfg):
    assert config_module.cfg == cfg
    assert config_module.cfg is not cfg
    assert isinstance(cfg.MODEL.FCOS, CfgNode)


def test_every_default_configuration_is_a_fresh_one(cfg):
    cfg.merge_from_list(["SOLVER.BASE_LR", 5.0])
    cfg.INPUT.PIXEL_MEAN[0] = 0.0
    fresh = get_default_config()
    assert fresh.SOLVER.BASE_LR == 0.001
    assert fresh.INPUT.PIXEL_MEAN[0] == 102.9801


def test_a_file_changes_what_it_names_and_nothing_else(cfg, tmp_path):
    cfg.merge_from_file(_yaml(tmp_path, "MODEL:\n  FCOS:\n    NMS_TH: 0.5\nOUTPUT_DIR: out\n"))
    changed = {k: v for k, v in cfg.leaves() if v != dict(get_default_config().leaves())[k]}
    assert changed == {"MODEL.FCOS.NMS_TH": 0.5, "OUTPUT_DIR": "out"}


def test_a_file_builds_upon_its_base(cfg, tmp_path):
    _yaml(tmp_path, "SOLVER: {BASE_LR: 0.5, MAX_ITER: 7}\n", "base.yaml")
    path = _yaml(tmp_path, "_BASE_: base.yaml\nSOLVER: {MAX_ITER: 9}\n")
    cfg.merge_from_file(str(path))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (0.5, 9)


def test_a_tree_knows_what_was_merged_into_it(cfg, tmp_path):
    _yaml(tmp_path, "SOLVER: {BASE_LR: 0.5}\n", "base.yaml")
    cfg.merge_from_file(_yaml(tmp_path, "_BASE_: base.yaml\nSOLVER: {MAX_ITER: 40000}\n"))
    cfg.merge_from_list(["INPUT.TO_BGR255", "True"])
    given = {key for key, _ in cfg.leaves() if cfg.is_given(key)}
    assert given == {"SOLVER.BASE_LR", "SOLVER.MAX_ITER", "INPUT.TO_BGR255"}
    assert cfg.clone().is_given("SOLVER.MAX_ITER")
    assert cfg.clone() == cfg
    assert not get_default_config().is_given("SOLVER.MAX_ITER")


def test_what_could_not_be_merged_was_not_given(cfg):
    with pytest.raises(ConfigError):
        cfg.merge_from_list(["SOLVER.MAX_ITER", 7, "SOLVER.BASE_LR", "fast"])
    assert not cfg.is_given("SOLVER.MAX_ITER")


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        ("MODEL.ROI_MASK_HEAD", "POOLER_SCALES: (0.125, 0.0625)", (0.125, 0.0625)),
        ("MODEL.ROI_MASK_HEAD", "POOLER_SCALES: [0.125, 0.0625]", (0.125, 0.0625)),
        ("MODEL.FCOS", "FPN_STRIDES: (4, 8)", [4, 8]),
        ("DATASETS", 'TRAIN: ("a", "b",)', ("a", "b")),
        ("DATASETS", "TRAIN: [a]", ("a",)),
        ("SOLVER", "BASE_LR: 1", 1.0),
        ("SOLVER", "BASE_LR: 1e-2", 0.01),
        ("SOLVER", "WEIGHT_DECAY_BIAS: 0.0001", 0.0001),
        ("SOLVER", "BIAS_LR_FACTOR: 1.5", 1.5),
        ("SOLVER", "MAX_ITER: 9e4", 90000),
        ("INPUT", "MIN_SIZE_TRAIN: (600, )", (600,)),
        ("MODEL.BACKBONE", "CONV_BODY:", ""),
    ],
)
def test_old_spellings_of_values_load(cfg, tmp_path, section, line, expected):
    before = dict(cfg.leaves())
    names = section.split(".")
    text = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(names))
    cfg.merge_from_file(_yaml(tmp_path, f"{text}{'  ' * len(names)}{line}\n"))
    changed = {key: value for key, value in cfg.leaves() if value != before[key]}
    assert changed == {f"{section}.{line.partition(':')[0]}": expected}
    assert type(changed.popitem()[1]) is type(expected)


def test_an_empty_section_changes_nothing(cfg, tmp_path):
    cfg.merge_from_file(_yaml(tmp_path, "MODEL:\n  FCOS:\nSOLVER:\n"))
    assert cfg == get_default_config()


def test_lists_of_keys_and_values_change_settings(cfg):
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", "INPUT.MIN_SIZE_TEST", "320"])
    assert (cfg.MODEL.DEVICE, cfg.MODEL.WEIGHT, cfg.INPUT.MIN_SIZE_TEST) == ("cpu", "", 320)
    cfg.merge_from_list(["MODEL.FCOS", {"NMS_TH": 0.3}, "SOLVER", "{'MAX_ITER': 3}"])
    assert (cfg.MODEL.FCOS.NMS_TH, cfg.SOLVER.MAX_ITER) == (0.3, 3)
    cfg.merge_from_list([])


def test_another_tree_or_a_part_of_one_can_be_merged(cfg):
    other = get_default_config()
    other.SOLVER.MAX_ITER = 11
    cfg.merge_from_other_cfg(other)
    cfg.SOLVER.merge_from_other_cfg(CfgNode({"STEPS": (1, 2)}))
    cfg.SOLVER.merge_from_list(["GAMMA", 0.5])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA) == (11, (1, 2), 0.5)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("SOLVER.BASELR", "SOLVER.BASE_LR"),
        ("MODEL.FCOS.NMS_THRESH", "MODEL.FCOS.NMS_TH"),
        ("SOLVER.MIN_SIZE_TEST", "INPUT.MIN_SIZE_TEST"),
        ("MASK_ON", "MODEL.MASK_ON"),
        ("MODEL.mask_on", "MODEL.MASK_ON"),
        ("OUTPUT", "OUTPUT_DIR"),
        ("solver.max_iter", "SOLVER.MAX_ITER"),
        ("MODEL.RPNN.NMS", "MODEL.RPN"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(cfg, key, nearest):
    named = key.removesuffix(".NMS")
    with pytest.raises(ConfigError, match=rf"\b{named}\b.*\b{nearest}$"):
        cfg.merge_from_list([key, 1])


def test_an_unknown_key_in_a_file_is_named_with_the_file(cfg, tmp_path):
    path = _yaml(tmp_path, "MODEL:\n  RPNN: {USE_FPN: True}\n")
    with pytest.raises(ConfigError, match=r"user\.yaml.*MODEL\.RPNN.*MODEL\.RPN\b"):
        cfg.merge_from_file(path)
    with pytest.raises(KeyError, match=r"^\S*user\.yaml.*MODEL\.RPNN"):
        cfg.merge_from_file(path)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["SOLVER.BASE_LR"], "got 1"),
        (["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR .*'fast'"),
        (["SOLVER.MAX_ITER", 0.5], "SOLVER.MAX_ITER .*0.5"),
        (["MODEL.MASK_ON", 1], "MODEL.MASK_ON .*True or False.* 1"),
        (["MODEL.MASK_ON.X", 1], "MODEL.MASK_ON .*dict"),
        (["MODEL.FCOS", 3], "MODEL.FCOS .* 3"),
        (["DATASETS.TEST", "coco"], r'DATASETS.TEST.*\("name",\)'),
        (["", 3], "unknown key"),
    ],
)
def test_values_that_do_not_fit_are_named_with_their_key(cfg, pairs, message):
    with pytest.raises(ConfigError, match=message):
        cfg.merge_from_list(pairs)


def test_an_error_leaves_everything_as_it_was(cfg, tmp_path):
    with pytest.raises(ConfigError):
        cfg.merge_from_list(["SOLVER.MAX_ITER", 3, "SOLVER.MAXITER", 4])
    _yaml(tmp_path, "SOLVER: {MAX_ITER: 3}\n", "base.yaml")
    with pytest.raises(ConfigError):
        cfg.merge_from_file(_yaml(tmp_path, "_BASE_: base.yaml\nSOLVER: {MAX_ITER: many}\n"))
    assert cfg == get_default_config()


def test_a_frozen_configuration_cannot_be_merged_into(cfg):
    cfg.freeze()
    with pytest.raises(ConfigError, match="frozen"):
        cfg.merge_from_list(["SEED", 1])
    with pytest.raises(AttributeError):
        cfg.SEED = 1
    thawed = cfg.clone()
    thawed.defrost()
    thawed.merge_from_list(["SEED", 1])
    assert (cfg.SEED, thawed.SEED) == (0, 1)


def test_what_is_dumped_loads_as_the_same(cfg, tmp_path):
    cfg.merge_from_list(["SOLVER.STEPS", "(1, 2)", "SOLVER.BIAS_LR_FACTOR", 1.5, "SEED", 7])
    again = get_default_config()
    again.merge_from_file(_yaml(tmp_path, cfg.dump()))
    assert again == cfg
    assert {k: type(v) for k, v in again.leaves()} == {k: type(v) for k, v in cfg.leaves()}


def test_new_keys_may_be_allowed(cfg):
    cfg.set_new_allowed(True)
    cfg.merge_from_list(["MODEL.MINE", "{'A': 1}", "MODEL.MINE.A", 2, "MODEL.SIZE", "(1, 2)"])
    assert isinstance(cfg.MODEL.MINE, CfgNode)
    assert cfg.MODEL.SIZE == (1, 2)


def test_keys_that_scripts_deprecated_or_renamed_keep_yacs_meaning(cfg):
    cfg.register_deprecated_key("MODEL.OLD")
    cfg.merge_from_list(["MODEL.OLD", 1])
    assert "OLD" not in cfg.MODEL
    cfg.register_renamed_key("MODEL.FORMER", "MODEL.WEIGHT")
    with pytest.raises(KeyError, match=r"renamed to MODEL\.WEIGHT"):
        cfg.merge_from_list(["MODEL.FORMER", "x"])


def test_python_files_are_not_executed(cfg, tmp_path):
    path = _yaml(tmp_path, f"import os; os.mkdir({str(tmp_path / 'made')!r}); cfg = {{}}", "c.py")
    with pytest.raises(ConfigError):
        cfg.merge_from_file(path)
    with path.open() as file, pytest.raises(ConfigError, match="not executed"):
        CfgNode.load_cfg(file)
    assert not (tmp_path / "made").exists()
