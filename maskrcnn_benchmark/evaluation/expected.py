"""Comparing the numbers of an evaluation with the ones a configuration promises."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.evaluation.result import EvaluationResult

logger = logging.getLogger(__name__)

_PERCENT = 100.0


class _Expectation(NamedTuple):
    iou_type: str
    metric: str
    mean: float
    std: float


class Expectations(NamedTuple):
    """What an evaluation should give.

    Attributes:
        entries: each ``[iou_type, metric, [mean, std]]``, in fractions of 1.
        sigma_tol: how many std a number may lie from its mean.
    """

    entries: tuple[Any, ...] = ()
    sigma_tol: float = 4.0


class Comparison(NamedTuple):
    """A number and what was expected of it.

    Attributes:
        text: "segm AP expected 36.40 ± 0.40 percent, got 36.38".
        passed: whether it lies within the tolerance.
    """

    text: str
    passed: bool


def compare_with_expected(
    results: EvaluationResult, expected: Sequence[Any], sigma_tol: float
) -> tuple[Comparison, ...]:
    """One comparison for each expectation, in order.

    Args:
        results: the numbers of one evaluation.
        expected: entries ``[iou_type, metric, [mean, std]]`` or ``[iou_type, metric, mean, std]``;
            mean and std are fractions of 1, as in the original's configuration files.
        sigma_tol: how many std a number may lie from its mean.

    Raises:
        ConfigError: an entry is malformed, in percent, or names a number that was not evaluated.
    """
    return tuple(_compare(results, _parse(entry), sigma_tol) for entry in expected)


def check_entries(entries: Sequence[Any]) -> None:
    """Raise what ``compare_with_expected`` would raise after an evaluation, as far as it is known.

    Raises:
        ConfigError: an entry is malformed or in percent.
    """
    for entry in entries:
        _parse(entry)


def missed_expectations(
    expectations: Mapping[str, Expectations], results: Mapping[str, EvaluationResult | None]
) -> tuple[str, ...]:
    """A sentence for each expectation that was missed, naming the data set.

    Args:
        expectations: by data set; others are not compared.
        results: by data set; None (on processes without results) are not compared.

    Raises:
        ConfigError: as ``compare_with_expected``.
    """
    return tuple(
        f"{name}: {comparison.text}"
        for name, result in results.items()
        if result is not None and name in expectations
        for comparison in compare_with_expected(result, *expectations[name])
        if not comparison.passed
    )


def check_expected_results(
    results: EvaluationResult, expected: Sequence[Any], sigma_tol: float
) -> tuple[str, ...]:
    """A sentence for each expectation that ``results`` miss; empty when all are met.

    Every comparison is also logged, misses as errors, then a line that counts them. Arguments and
    errors are those of ``compare_with_expected``.
    """
    comparisons = compare_with_expected(results, expected, sigma_tol)
    for comparison in comparisons:
        if comparison.passed:
            logger.info("PASS: %s", comparison.text)
        else:
            logger.error("FAIL: %s", comparison.text)
    failures = tuple(comparison.text for comparison in comparisons if not comparison.passed)
    if comparisons:
        logger.info(
            "%s: %d of %d expected results reproduced on %s",
            "FAIL" if failures else "PASS",
            len(comparisons) - len(failures),
            len(comparisons),
            results.dataset,
        )
    return failures


def _compare(results: EvaluationResult, expectation: _Expectation, sigma_tol: float) -> Comparison:
    actual = _actual_percent(results, expectation)
    mean, tolerance = expectation.mean * _PERCENT, sigma_tol * expectation.std * _PERCENT
    got = "n/a" if actual is None else f"{actual:.2f}"
    text = (
        f"{expectation.iou_type} {expectation.metric} expected {mean:.2f} ± {tolerance:.2f} "
        f"percent, got {got}"
    )
    return Comparison(text, passed=actual is not None and abs(actual - mean) <= tolerance)


def _parse(entry: Any) -> _Expectation:  # noqa: ANN401  # whatever a YAML file holds
    try:
        iou_type, metric, *numbers = entry
        mean, std = (float(number) for number in (numbers if len(numbers) == 2 else numbers[0]))
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            "TEST.EXPECTED_RESULTS: each entry must be [iou_type, metric, [mean, std]], "
            f"got {entry!r}"
        ) from error
    if not 0.0 <= mean <= 1.0:
        raise ConfigError(
            f"TEST.EXPECTED_RESULTS: means are fractions of 1 (0.382, not 38.2), got {entry!r}"
        )
    return _Expectation(str(iou_type), str(metric), mean, std)


def _actual_percent(results: EvaluationResult, expectation: _Expectation) -> float | None:
    numbers = results.metrics.get(expectation.iou_type, {})
    if expectation.metric not in numbers:
        known = [f"{key} {name}" for key, value in results.metrics.items() for name in value]
        raise ConfigError(
            f"TEST.EXPECTED_RESULTS: {expectation.iou_type} {expectation.metric} was not "
            f"evaluated; there is: {', '.join(known)}"
        )
    return numbers[expectation.metric]
