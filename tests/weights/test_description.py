import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.weights.checkpoint import (
    DetectronCheckpointer,
    remove_solver_states,
    store_score_threshold,
)
from maskrcnn_benchmark.weights.description import (
    DESCRIPTION_ENTRY,
    Category,
    ModelDescription,
    find_description,
    read_description,
)
from maskrcnn_benchmark.weights.load_report import CheckpointError

CATEGORIES = (Category(0, "cat"), Category(7, "Hündin"))


def saved(folder, *options):
    """A checkpoint of a layer, with settings."""
    cfg = get_default_config()
    cfg.merge_from_list(list(options))
    checkpointer = DetectronCheckpointer(
        cfg, nn.Linear(2, 2), save_dir=folder, categories=CATEGORIES
    )
    checkpointer.save("model", iteration=3)
    return folder / "model.pth"


def test_checkpoints_tell_settings_and_classes(tmp_path):
    options = ["MODEL.FCOS.NMS_TH", 0.25, "INPUT.MIN_SIZE_TRAIN", (100, 200)]
    description = read_description(saved(tmp_path, *options))
    cfg = description.settings()
    assert cfg.MODEL.FCOS.NMS_TH == 0.25
    assert cfg.INPUT.MIN_SIZE_TRAIN == (100, 200)
    assert description.categories == CATEGORIES
    assert description.class_names() == {1: "cat", 2: "Hündin"}


def test_what_belongs_to_the_other_machine_is_left_there(tmp_path):
    """Above all PATHS_CATALOG, which is a program: a checkpoint must not name one to be run."""
    options = [
        *("PATHS_CATALOG", "/tmp/evil.py", "OUTPUT_DIR", "/root"),
        *("MODEL.DEVICE", "cuda:3", "MODEL.WEIGHT", "/there/a.pth"),
    ]
    cfg, default = read_description(saved(tmp_path, *options)).settings(), get_default_config()
    assert cfg.PATHS_CATALOG == default.PATHS_CATALOG
    assert cfg.OUTPUT_DIR == default.OUTPUT_DIR
    assert (cfg.MODEL.DEVICE, cfg.MODEL.WEIGHT) == (default.MODEL.DEVICE, default.MODEL.WEIGHT)


def test_a_file_without_solver_states_is_whole_too(tmp_path):
    target = tmp_path / "small.pth"
    remove_solver_states(saved(tmp_path), target)
    assert read_description(target).categories == CATEGORIES


def test_resuming_does_not_hand_the_description_to_the_caller(tmp_path):
    saved(tmp_path)
    again = DetectronCheckpointer(get_default_config(), nn.Linear(2, 2), save_dir=tmp_path)
    assert set(again.load()) == {"iteration"}


def test_checkpoints_tell_from_which_score_on_objects_are_worth_showing(tmp_path):
    checkpointer = DetectronCheckpointer(
        get_default_config(), nn.Linear(2, 2), save_dir=tmp_path, categories=CATEGORIES
    )
    checkpointer.save("evaluated", score_threshold=0.375)
    checkpointer.save("later", iteration=4)
    assert read_description(tmp_path / "evaluated.pth").score_threshold == 0.375
    assert read_description(tmp_path / "later.pth").score_threshold is None
    before = torch.load(tmp_path / "later.pth", weights_only=True)
    store_score_threshold(tmp_path / "later.pth", 0.25)
    after = torch.load(tmp_path / "later.pth", weights_only=True)
    assert read_description(tmp_path / "later.pth").score_threshold == 0.25
    assert (after["iteration"], after["model"].keys()) == (4, before["model"].keys())


def test_a_file_that_describes_no_model_gets_no_threshold(tmp_path):
    path = tmp_path / "bare.pth"
    torch.save({"model": {"weight": torch.ones(2)}}, path)
    before = path.read_bytes()
    store_score_threshold(path, 0.25)
    assert path.read_bytes() == before


def test_descriptions_of_the_version_before_had_no_threshold():
    entry = ModelDescription.from_config(get_default_config(), CATEGORIES).as_entry()
    del entry["score_threshold"]
    assert ModelDescription.from_entry(entry).score_threshold is None


def test_files_that_say_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_description(tmp_path / "none.pth")
    torch.save({"model": {}}, tmp_path / "bare.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("bare.pth", "text.pth"):
        assert find_description(tmp_path / name) is None
        with pytest.raises(CheckpointError, match="config-file"):
            read_description(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"config": 3},
        {"category_ids": [1]},
        {"category_ids": [1, "2"]},
        {"category_names": None},
        {"version": None},
        {"score_threshold": "0.4"},
        {"score_threshold": 1.5},
        {"score_threshold": float("nan")},
        {"score_threshold": True},
    ],
)
def test_entries_of_other_shapes_are_none_of_ours(change):
    entry = ModelDescription.from_config(get_default_config(), CATEGORIES).as_entry()
    assert ModelDescription.from_entry(entry).categories == CATEGORIES
    assert ModelDescription.from_entry({**entry, **change}) is None


@pytest.mark.parametrize("config", ["[1, 2]", "{unclosed", "MODEL: {NO_SUCH_KEY: 1}"])
def test_settings_that_cannot_be_used(config):
    with pytest.raises(ConfigError):
        ModelDescription(config, CATEGORIES).settings()


def test_the_entry_can_be_loaded_without_running_code(tmp_path):
    content = torch.load(saved(tmp_path), weights_only=True)
    assert ModelDescription.from_entry(content[DESCRIPTION_ENTRY]) is not None
