import pytest
import torch

from maskrcnn_benchmark.evaluation.image_results import ImageResults
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.evaluation.fakes import FakeDataset, two_image_content


def make():
    """Keeps the image id and the boxes as lists; both images are 100 x 80 px."""
    return ImageResults(FakeDataset(two_image_content()), lambda key, b: (key, b.bbox.tolist()))


def test_predictions_come_in_px_of_the_original_image():
    results = make()
    results.add([torch.tensor(12)], [BoxList([[1, 2, 3, 4]], (50, 40))])
    assert results.gather() == {12: (12, [[2, 4, 6, 8]])}
    assert results.coverage_notes({12: ()}) == (
        "1 image never went through the model: counted as without detections",
    )
    assert results.coverage_notes({11: (), 12: ()}) == ()


def test_an_image_seen_twice_counts_once_and_clear_forgets():
    results = make()
    for x in (1, 5):
        results.add([11], [BoxList([[x, 0, 9, 9]], (100, 80))])
    assert results.gather()[11] == (11, [[5, 0, 9, 9]])
    results.clear()
    assert results.gather() == {}


def test_what_does_not_fit_is_refused():
    boxes = BoxList(torch.zeros(0, 4), (100, 80))
    with pytest.raises(ValueError, match="image 99 is not in fake"):
        make().add([99], [boxes])
    with pytest.raises(ValueError, match="got 2 image ids for 1 predictions"):
        make().add([11, 12], [boxes])
