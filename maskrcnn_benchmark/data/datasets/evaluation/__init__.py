"""Evaluation of detections against the ground truth of a data set."""

from maskrcnn_benchmark.data.datasets.evaluation.coco_evaluator import COCOEvaluator
from maskrcnn_benchmark.data.datasets.evaluation.expected import (
    Expectations,
    check_entries,
    check_expected_results,
    missed_expectations,
)
from maskrcnn_benchmark.data.datasets.evaluation.proposals import ProposalEvaluator
from maskrcnn_benchmark.data.datasets.evaluation.result import METRIC_NAMES, EvaluationResult
from maskrcnn_benchmark.data.datasets.evaluation.voc import VOCEvaluator

__all__ = [
    "METRIC_NAMES",
    "COCOEvaluator",
    "EvaluationResult",
    "Expectations",
    "ProposalEvaluator",
    "VOCEvaluator",
    "check_entries",
    "check_expected_results",
    "missed_expectations",
]
