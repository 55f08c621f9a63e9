import logging

import pytest

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.evaluation.expected import (
    Expectations,
    check_expected_results,
    missed_expectations,
)
from maskrcnn_benchmark.evaluation.result import EvaluationResult

RESULT = EvaluationResult(dataset="fake", num_images=2, metrics={"bbox": {"AP": 38.0, "APs": None}})


@pytest.mark.parametrize(
    "entry", [["bbox", "AP", [0.38, 0.001]], ["bbox", "AP", 0.38, 0.001]], ids=["nested", "flat"]
)
def test_met_expectations_give_nothing(entry):
    assert check_expected_results(RESULT, [entry], 4) == ()


@pytest.mark.parametrize(("mean", "met"), [(0.3841, False), (0.3839, True), (0.3759, False)])
def test_tolerance_is_a_multiple_of_std_around_the_mean(mean, met, caplog):
    failures = check_expected_results(RESULT, [["bbox", "AP", [mean, 0.001]]], 4)
    assert (failures == ()) is met
    assert any(record.levelno == logging.ERROR for record in caplog.records) is not met


def test_a_miss_says_what_was_expected_and_what_came():
    (failure,) = check_expected_results(RESULT, [["bbox", "AP", [0.4, 0.001]]], 4)
    assert failure == "bbox AP expected 40.00 ± 0.40 percent, got 38.00"


def test_a_number_that_does_not_exist_is_a_miss():
    (failure,) = check_expected_results(RESULT, [["bbox", "APs", [0.4, 0.001]]], 4)
    assert failure.endswith("got n/a")


@pytest.mark.parametrize("entry", [["bbox", "AP"], ["bbox"], 3, ["bbox", "AP", "high", 1]])
def test_malformed_entries_are_refused(entry):
    with pytest.raises(ConfigError, match=r"TEST\.EXPECTED_RESULTS.*iou_type, metric"):
        check_expected_results(RESULT, [entry], 4)


def test_percent_instead_of_fractions_is_refused():
    with pytest.raises(ConfigError, match=r"TEST\.EXPECTED_RESULTS.*fractions.*38"):
        check_expected_results(RESULT, [["bbox", "AP", [38.0, 0.1]]], 4)


def test_a_number_that_was_not_evaluated_is_refused():
    with pytest.raises(ConfigError, match=r"segm AP .*bbox AP, bbox APs"):
        check_expected_results(RESULT, [["segm", "AP", [0.3, 0.1]]], 4)


def test_the_verdict_counts_what_was_reproduced(caplog):
    entries = [["bbox", "AP", [0.38, 0.001]], ["bbox", "AP", [0.4, 0.001]]]
    with caplog.at_level(logging.INFO):
        check_expected_results(RESULT, entries, 4)
    assert caplog.messages[-1] == "FAIL: 1 of 2 expected results reproduced on fake"
    caplog.clear()
    with caplog.at_level(logging.INFO):
        check_expected_results(RESULT, entries[:1], 4)
    assert caplog.messages[-1] == "PASS: 1 of 1 expected results reproduced on fake"


def test_only_data_sets_with_expectations_can_miss_them():
    wrong = Expectations((["bbox", "AP", [0.4, 0.001]],), 4)
    results = {"fake": RESULT, "other": RESULT, "elsewhere": None}
    (missed,) = missed_expectations({"fake": wrong, "elsewhere": wrong}, results)
    assert missed == "fake: bbox AP expected 40.00 ± 0.40 percent, got 38.00"
