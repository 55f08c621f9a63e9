"""Comparing the numbers of an evaluation with the ones a configuration promises."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.data.datasets.evaluation.result import EvaluationResult

logger = logging.getLogger(__name__)

_PERCENT = 100.0


class _Expectation(NamedTuple):
    iou_type: str
    metric: str
    mean: float
    std: float


def check_expected_results(
    results: EvaluationResult, expected: Sequence[Any], sigma_tol: float
) -> tuple[str, ...]:
    """A sentence for each expectation that ``results`` miss; empty when all are met.

    Every comparison is also logged, misses as errors.

    Args:
        results: the numbers of one evaluation.
        expected: entries ``[iou_type, metric, [mean, std]]`` or ``[iou_type, metric, mean, std]``;
            mean and std are fractions of 1, as in the original's configuration files.
        sigma_tol: how many std a number may lie from its mean.

    Raises:
        ConfigError: an entry is malformed, in percent, or names a number that was not evaluated.
    """
    failures = []
    for entry in expected:
        expectation = _parse(entry)
        name = f"{expectation.iou_type} {expectation.metric}"
        actual = _actual_percent(results, expectation)
        tolerance = sigma_tol * expectation.std * _PERCENT
        text = f"{name} expected {expectation.mean * _PERCENT:.2f} ± {tolerance:.2f} percent"
        if actual is not None and abs(actual - expectation.mean * _PERCENT) <= tolerance:
            logger.info("PASS: %s, got %.2f", text, actual)
            continue
        failure = f"{text}, got {'n/a' if actual is None else f'{actual:.2f}'}"
        logger.error("FAIL: %s", failure)
        failures.append(failure)
    return tuple(failures)


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
