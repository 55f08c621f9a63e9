import logging

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.engine.random_state import preserved_random_state
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from tests.tools.small_run import arguments, write_data_set
from tools import test_net as tool


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("small"))


@pytest.fixture
def output_dir(catalog, tmp_path):
    """A folder with a checkpoint of an untrained model."""
    words = arguments(catalog, tmp_path)
    cfg = get_default_config()
    cfg.merge_from_file(words[1])
    cfg.merge_from_list(words[2:])
    Checkpointer(build_detection_model(cfg), save_dir=str(tmp_path)).save("model_final")
    return tmp_path


def without_weight(words):
    """The command line without the key MODEL.WEIGHT and its value."""
    at = words.index("MODEL.WEIGHT")
    return words[:at] + words[at + 2 :]


def log_of(folder):
    return (folder / "log.txt").read_text()


def test_the_checkpoint_of_the_folder_is_evaluated(catalog, output_dir):
    tool.main(without_weight(arguments(catalog, output_dir)))
    assert str(output_dir / "model_final.pth") in log_of(output_dir)
    assert (output_dir / "inference" / "small" / "coco_results.json").is_file()


def test_weights_that_are_asked_for_win_over_the_checkpoint_of_the_folder(catalog, output_dir):
    """upstream: asked-weights-win."""
    """In the original, test_net.py evaluated the checkpoint without a word."""
    mine = output_dir / "mine.pth"
    torch.save(torch.load(output_dir / "model_final.pth", weights_only=True), mine)
    tool.main(arguments(catalog, output_dir, MODEL__WEIGHT=mine))
    assert "mine.pth" in log_of(output_dir)
    assert "model_final.pth" not in log_of(output_dir).split("settings:")[1]


def test_without_any_weights_there_is_nothing_to_evaluate(catalog, tmp_path):
    with pytest.raises(ValueError, match=r"expected MODEL\.WEIGHT"):
        tool.main(arguments(catalog, tmp_path, MODEL__WEIGHT="''"))
    assert not (tmp_path / "inference").exists()


def test_weights_of_another_model_are_refused(catalog, output_dir):
    with pytest.raises(ValueError, match="model_final"):
        tool.main(without_weight(arguments(catalog, output_dir, MODEL__NUM_CLASSES=4)))


def test_nothing_to_test_on_is_said(catalog, output_dir, caplog):
    with caplog.at_level(logging.WARNING):
        tool.main(without_weight(arguments(catalog, output_dir, DATASETS__TEST="()")))
    assert "DATASETS.TEST is empty" in caplog.text


def test_every_spelling_of_the_local_rank_is_understood():
    for words in (["--local-rank", "1"], ["--local_rank=1"]):
        assert tool.parse_args([*words, "--config-file", "a.yaml"]).local_rank == 1


NEVER = "[['bbox', 'AP', [1.0, 0.0001]]]"
ALWAYS = "[['bbox', 'AP', [0.5, 1.0]]]"


def test_check_ends_with_an_error_unless_the_expected_results_came(catalog, output_dir):
    words = ["--check", *without_weight(arguments(catalog, output_dir))]
    with pytest.raises(SystemExit) as end:
        tool.main([*words, "TEST.EXPECTED_RESULTS", NEVER])
    assert end.value.code == 1
    assert "FAIL: 0 of 1 expected results reproduced on small" in log_of(output_dir)
    tool.main([*words, "TEST.EXPECTED_RESULTS", ALWAYS])
    assert "PASS: 1 of 1 expected results reproduced on small" in log_of(output_dir)


def test_expected_results_of_other_data_sets_are_not_compared(catalog, output_dir):
    words = without_weight(arguments(catalog, output_dir))
    words += ["TEST.EXPECTED_RESULTS", NEVER, "TEST.EXPECTED_RESULTS_DATASETS", "('elsewhere',)"]
    tool.main(words)
    assert "expected results reproduced" not in log_of(output_dir)
    with pytest.raises(ConfigError, match=r"TEST\.EXPECTED_RESULTS\b"):
        tool.main(["--check", *words])


def test_check_needs_expected_results(catalog, output_dir):
    with pytest.raises(ConfigError, match=r"TEST\.EXPECTED_RESULTS\b.* 0 "):
        tool.main(["--check", *without_weight(arguments(catalog, output_dir))])


def test_expectations_in_percent_are_refused_before_the_evaluation(catalog, output_dir):
    words = without_weight(arguments(catalog, output_dir))
    for flags in ([], ["--check"]):
        with pytest.raises(ConfigError, match=r"TEST\.EXPECTED_RESULTS.*41\.2"):
            tool.main([*flags, *words, "TEST.EXPECTED_RESULTS", "[['bbox', 'AP', [41.2, 0.2]]]"])
    assert not (output_dir / "inference").exists()
