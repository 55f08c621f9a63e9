import numpy as np
import pytest

from maskrcnn_benchmark.engine.run_report import headline, spread
from maskrcnn_benchmark.evaluation import EvaluationResult


@pytest.mark.parametrize(("length", "limit"), [(40, 12), (12, 12), (5, 12), (1, 3), (0, 3)])
def test_photos_of_a_sheet_are_evenly_spread(length, limit):
    chosen = spread(length, limit)
    assert len(chosen) == min(length, limit)
    assert chosen == sorted(set(chosen))
    assert all(0 <= index < length for index in chosen)
    steps = np.diff(chosen)
    assert steps.size == 0 or steps.max() - steps.min() <= 1


def test_the_headline_says_what_is_not_available():
    metrics = {"bbox": {"AP50": 51.26}, "segm": {"AP50": None}}
    result = EvaluationResult(dataset="x", num_images=1, metrics=metrics)
    assert headline(result) == "box AP50 51.3, mask AP50 n/a"
