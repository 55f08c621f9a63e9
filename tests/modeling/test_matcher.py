import pytest
import torch

from maskrcnn_benchmark.modeling.matcher import Matcher
from tests.golden_data import golden_npz

# Two ground truths, five predictions.
QUALITY = torch.tensor([[0.9, 0.5, 0.3, 0.1, 0.0], [0.2, 0.6, 0.1, 0.05, 0.2]])


def match_by_loops(quality, high, low, allow_low_quality):
    num_gt, num_predictions = quality.shape
    matches, best = [], []
    for k in range(num_predictions):
        column = [quality[g, k].item() for g in range(num_gt)]
        best.append(column.index(max(column)))
        value = max(column)
        matches.append(best[k] if value >= high else -1 if value < low else -2)
    if allow_low_quality:
        for row in quality:
            for k in range(num_predictions):
                if row[k] == row.max() and row[k] > 0:
                    matches[k] = best[k]
    return matches


def test_thresholds():
    assert Matcher(0.5, 0.3)(QUALITY).tolist() == [0, 1, -2, -1, -1]


def test_thresholds_are_inclusive():
    quality = torch.tensor([[0.5, 0.25]])
    assert Matcher(0.5, 0.25)(quality).tolist() == [0, -2]


def test_a_prediction_that_is_best_for_a_ground_truth_matches_whatever_its_quality():
    quality = torch.tensor([[0.2, 0.1, 0.2], [0.0, 0.3, 0.0]])
    assert Matcher(0.7, 0.4)(quality).tolist() == [-1, -1, -1]
    # Both of the first ground truth's best are taken.
    assert Matcher(0.7, 0.4, allow_low_quality_matches=True)(quality).tolist() == [0, 1, 0]


def test_a_low_quality_match_gets_its_own_best_ground_truth():
    quality = torch.tensor([[0.6, 0.0], [0.5, 0.1]])
    assert Matcher(0.7, 0.4, allow_low_quality_matches=True)(quality).tolist() == [0, -1]


def test_a_ground_truth_without_overlap_matches_nothing():
    """upstream: gt-without-overlap."""
    quality = torch.tensor([[0.8, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert Matcher(0.7, 0.3, allow_low_quality_matches=True)(quality).tolist() == [0, -1, -1]


@pytest.mark.parametrize("allow_low_quality", [False, True])
def test_agrees_with_loops(allow_low_quality):
    quality = (torch.rand(6, 50) * 16).round() / 16  # coarse, so that there are ties
    matches = Matcher(0.875, 0.5, allow_low_quality)(quality)
    assert matches.dtype == torch.int64
    assert matches.tolist() == match_by_loops(quality, 0.875, 0.5, allow_low_quality)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "matcher"),
    [
        ("matcher_rpn", Matcher(0.35, 0.15, allow_low_quality_matches=True)),
        ("matcher_roi", Matcher(0.3, 0.3)),
    ],
)
def test_matches_of_the_original(name, matcher):
    golden = golden_npz("ops")
    assert matcher(torch.from_numpy(golden["iou"])).tolist() == golden[name].tolist()


@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_nothing_to_match(shape, allow_low_quality):
    matches = Matcher(0.5, 0.3, allow_low_quality)(torch.zeros(shape))
    assert matches.dtype == torch.int64
    assert matches.tolist() == [-1] * shape[1]


def test_the_quality_is_not_changed():
    quality = QUALITY.clone()
    Matcher(0.5, 0.3, allow_low_quality_matches=True)(quality)
    assert quality.equal(QUALITY)


def test_thresholds_must_be_in_order():
    with pytest.raises(ValueError, match=r"low_threshold.*0\.6.*0\.5"):
        Matcher(0.5, 0.6)


def test_best_predictions_may_need_a_quality_of_their_own():
    quality = torch.tensor([[0.2, 0.1, 0.2], [0.0, 0.3, 0.0]])
    matcher = Matcher(0.7, 0.4, allow_low_quality_matches=True, low_quality_threshold=0.3)
    assert matcher(quality).tolist() == [-1, 1, -1]
