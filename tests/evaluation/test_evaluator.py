"""What all evaluators share: collecting results image by image."""

import json

import pytest
import torch

from maskrcnn_benchmark.evaluation import EvaluationResult, Evaluator
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.evaluation.fakes import FakeDataset, two_image_content


class FirstBoxes(Evaluator[list[float]]):
    """Keeps the first box of an image; its number is how many images there were."""

    def keep(self, image_id, predictions):
        return [image_id, *predictions.bbox[0].tolist()]

    def score(self, gathered):
        return EvaluationResult(
            dataset=self.dataset.name,
            num_images=len(gathered),
            metrics={"bbox": {"AP": float(len(gathered))}},
            notes=(*self.coverage_notes(gathered), str(dict(sorted(gathered.items())))),
        )


def make(folder=None):
    """Both images are 100 x 80 px."""
    return FirstBoxes(FakeDataset(two_image_content()), folder)


def test_predictions_come_in_px_of_the_original_image():
    evaluator = make()
    evaluator.process([torch.tensor(12)], [BoxList([[1, 2, 3, 4]], (50, 40))])
    assert evaluator.evaluate().notes == (
        "1 image never went through the model: counted as without detections",
        "{12: [12, 2.0, 4.0, 6.0, 8.0]}",
    )
    evaluator.process([11], [BoxList([[0, 0, 1, 1]], (100, 80))])
    assert len(evaluator.evaluate().notes) == 1


def test_an_image_seen_twice_counts_once_and_reset_forgets():
    evaluator = make()
    for x in (1, 5):
        evaluator.process([11], [BoxList([[x, 0, 9, 9]], (100, 80))])
    assert evaluator.evaluate().notes[-1] == "{11: [11, 5.0, 0.0, 9.0, 9.0]}"
    evaluator.reset()
    assert evaluator.evaluate().num_images == 0


def test_predictions_and_numbers_are_written(tmp_path):
    evaluator = make(tmp_path)
    evaluator.process([11], [BoxList([[1, 0, 9, 9]], (100, 80))])
    evaluator.evaluate()
    assert torch.load(tmp_path / "predictions.pth") == {11: [11, 1, 0, 9, 9]}
    numbers = json.loads((tmp_path / "coco_results.json").read_text())
    assert numbers["metrics"] == {"bbox": {"AP": 1.0}}


def test_predictions_are_written_before_the_ground_truth_is_looked_at(tmp_path):
    class Unusable(FirstBoxes):
        def score(self, gathered):
            raise ValueError("no ground truth")

    with pytest.raises(ValueError, match="no ground truth"):
        Unusable(FakeDataset(two_image_content()), tmp_path).evaluate()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.pth"]


def test_what_does_not_fit_is_refused():
    boxes = BoxList(torch.zeros(0, 4), (100, 80))
    with pytest.raises(ValueError, match=r"99.*fake"):
        make().process([99], [boxes])
    with pytest.raises(ValueError, match=r"2 .*1 "):
        make().process([11, 12], [boxes])
