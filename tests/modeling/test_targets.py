import torch

from maskrcnn_benchmark.modeling.matcher import Matcher
from maskrcnn_benchmark.modeling.targets import IGNORED, batch_indices, label_matches


def test_labels_are_those_of_the_matched_truth():
    matches = torch.tensor([1, Matcher.BELOW_LOW_THRESHOLD, 0, Matcher.BETWEEN_THRESHOLDS])
    assert label_matches(matches, torch.tensor([5, 7])).tolist() == [7, 0, 5, IGNORED]
    nothing = torch.full((2,), Matcher.BELOW_LOW_THRESHOLD)
    assert label_matches(nothing, torch.zeros(0, dtype=torch.int64)).tolist() == [0, 0]


def test_places_count_on_through_the_images():
    chosen = [torch.tensor([False, True]), torch.zeros(0, dtype=torch.bool), torch.ones(1).bool()]
    assert batch_indices(chosen, torch.device("cpu")).tolist() == [1, 2]
    assert batch_indices([], torch.device("cpu")).shape == (0,)
