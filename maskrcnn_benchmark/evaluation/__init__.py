"""Evaluation of detections against the ground truth of a data set."""

from maskrcnn_benchmark.evaluation.coco_evaluator import COCOEvaluator
from maskrcnn_benchmark.evaluation.evaluator import AnnotatedDataset, Evaluator
from maskrcnn_benchmark.evaluation.expected import (
    Expectations,
    check_entries,
    check_expected_results,
    missed_expectations,
)
from maskrcnn_benchmark.evaluation.proposals import ProposalEvaluator
from maskrcnn_benchmark.evaluation.result import METRIC_NAMES, EvaluationResult
from maskrcnn_benchmark.evaluation.voc import VOCEvaluator

__all__ = [
    "METRIC_NAMES",
    "AnnotatedDataset",
    "COCOEvaluator",
    "EvaluationResult",
    "Evaluator",
    "Expectations",
    "ProposalEvaluator",
    "VOCEvaluator",
    "check_entries",
    "check_expected_results",
    "missed_expectations",
]
