import copy
import json
import logging

import pytest
import torch

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.evaluation import evaluator as evaluator_module
from maskrcnn_benchmark.evaluation.coco_evaluator import COCOEvaluator
from maskrcnn_benchmark.structures.predicted_masks import ImageMasks
from tests.evaluation.fakes import (
    FakeDataset,
    detections,
    quickstart_annotations,
    square_annotation,
    two_image_content,
)
from tests.structures.prototype_masks import filled_boxes

# The object of ``two_image_content`` as inclusive corners: category 7 is label 2.
RIGHT_BOX = [10, 10, 49, 49]
NOTHING = ([], [], [])


def make(content=None, iou_types=("bbox", "segm"), **settings):
    return COCOEvaluator(FakeDataset(content or two_image_content()), iou_types, **settings)


def evaluate(content, first, second=NOTHING, **settings):
    evaluator = make(content, **settings)
    evaluator.process([11, 12], [detections(*first), detections(*second)])
    return evaluator.evaluate()


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
class TestNumbers:
    def test_the_right_detection_scores_100(self, backend):
        result = evaluate(None, ([RIGHT_BOX], [2], [0.9]), backend=backend)
        for iou_type in ("bbox", "segm"):
            assert result.metrics[iou_type]["AP"] == pytest.approx(100)
            assert result.metrics[iou_type]["APm"] == pytest.approx(100)
            assert result.per_class[iou_type]["dog"]["AP"] == pytest.approx(100)
        assert (result.num_images, result.backend) == (2, backend)

    def test_detections_of_a_resized_image_are_scaled_back(self, backend):
        evaluator = make(backend=backend)
        half_size = detections([[5, 5, 24.5, 24.5]], [2], [0.9], size_wh=(50, 40))
        evaluator.process([11], [half_size])
        assert evaluator.evaluate().metrics["bbox"]["AP"] == pytest.approx(100)

    def test_masks_pasted_by_the_model_count_as_those_inside_boxes(self, backend):
        evaluator = make(backend=backend)
        half_size = detections([[5, 5, 24.5, 24.5]], [2], [0.9], size_wh=(50, 40))
        planes = half_size.predicted_masks.planes()
        half_size.add_field("mask", ImageMasks(planes, half_size.size))
        evaluator.process([11], [half_size])
        assert evaluator.evaluate().metrics["segm"]["AP"] == pytest.approx(100)

    def test_masks_of_a_kind_of_ones_own_count(self, backend):
        evaluator = make(backend=backend)
        half_size = detections([[5, 5, 24.5, 24.5]], [2], [0.9], size_wh=(50, 40))
        half_size.add_field("mask", filled_boxes(half_size))
        evaluator.process([11], [half_size])
        assert evaluator.evaluate().metrics["segm"]["AP"] == pytest.approx(100)

    def test_a_right_box_below_a_wrong_one_scores_half(self, backend):
        boxes = [[60, 60, 70, 70], RIGHT_BOX]
        result = evaluate(None, (boxes, [2, 2], [0.9, 0.8]), backend=backend)
        assert result.metrics["bbox"]["AP50"] == pytest.approx(50)

    def test_another_class_scores_nothing(self, backend):
        result = evaluate(None, ([RIGHT_BOX], [1], [0.9]), backend=backend)
        assert result.metrics["bbox"]["AP"] == 0

    def test_a_detection_on_a_crowd_is_no_mistake(self, backend):
        content = two_image_content()
        crowd = square_annotation(2, 12, 7, (0, 0, 60, 60), iscrowd=1)
        crowd["segmentation"] = {"size": [80, 100], "counts": [0, 60 * 80, 40 * 80]}
        content["annotations"].append(crowd)
        right = ([RIGHT_BOX], [2], [0.9])
        result = evaluate(content, right, ([[5, 5, 40, 40]], [2], [0.95]), backend=backend)
        assert result.metrics["bbox"]["AP"] == pytest.approx(100)


class TestNotAvailable:
    def test_sizes_without_ground_truth_have_a_reason(self):
        """upstream: not-available"""
        result = evaluate(None, ([RIGHT_BOX], [2], [0.9]))
        assert result.metrics["bbox"]["APs"] is None
        assert result.reasons["bbox"]["APs"] == "no ground truth of small area (up to 32² px)"
        assert set(result.reasons["segm"]) == {"APs", "APl", "ARs", "ARl"}

    def test_a_category_without_ground_truth(self):
        result = evaluate(None, ([RIGHT_BOX], [2], [0.9]))
        assert result.per_class["bbox"]["cat"] == {"AP": None, "AP50": None, "num_gt": 0}

    def test_crowds_only(self):
        crowd = square_annotation(1, 11, 7, (10, 10, 40, 40), iscrowd=1)
        result = evaluate(two_image_content([crowd]), NOTHING)
        assert set(result.metrics["bbox"].values()) == {None}
        assert result.reasons["segm"]["AP"] == "no ground truth besides 1 crowd region"

    @pytest.mark.parametrize("annotations", [[], None], ids=["empty", "missing"])
    def test_a_data_set_without_annotations_is_written_but_not_evaluated(
        self, annotations, tmp_path, caplog
    ):
        content = two_image_content([])
        if annotations is None:
            del content["annotations"]
        result = evaluate(content, ([RIGHT_BOX], [2], [0.9]), output_folder=tmp_path)
        assert result.metrics["bbox"]["AP"] is None
        assert result.reasons["bbox"]["AP"] == "fake has no annotations"
        assert "nothing was evaluated" in caplog.text
        assert len(json.loads((tmp_path / "bbox.json").read_text())) == 1


class TestBookkeeping:
    def test_an_image_seen_twice_counts_once(self):
        evaluator = make()
        right = detections([RIGHT_BOX], [2], [0.9])
        evaluator.process([11], [detections([[0, 0, 5, 5]], [2], [0.99])])
        evaluator.process([11, 12], [right, detections(*NOTHING)])
        assert evaluator.evaluate().metrics["bbox"]["AP"] == pytest.approx(100)

    def test_reset_forgets(self):
        evaluator = make()
        evaluator.process([11], [detections([RIGHT_BOX], [2], [0.9])])
        evaluator.reset()
        assert evaluator.evaluate().metrics["bbox"]["AP"] == 0

    def test_images_that_never_came_are_told(self):
        evaluator = make()
        evaluator.process([11], [detections([RIGHT_BOX], [2], [0.9])])
        (note,) = evaluator.evaluate().notes
        assert note == "1 image never went through the model: counted as without detections"

    def test_results_of_all_processes_count(self, monkeypatch):
        evaluator = make(iou_types=("bbox",))
        evaluator.process([12], [detections(*NOTHING)])
        box = {"image_id": 11, "category_id": 7, "bbox": [10, 10, 40, 40], "score": 0.9}
        other = {11: {"bbox": [box]}}
        monkeypatch.setattr(evaluator_module, "all_gather", lambda mine: [mine, other])
        result = evaluator.evaluate()
        assert result.metrics["bbox"]["AP"] == pytest.approx(100)
        assert result.notes == ()

    def test_other_processes_get_nothing(self, monkeypatch):
        monkeypatch.setattr(evaluator_module, "is_main_process", lambda: False)
        assert make().evaluate() is None

    @pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
    def test_evaluation_leaves_the_data_set_as_it_was(self, backend):
        """upstream: ground-truth-copy"""
        dataset = FakeDataset(quickstart_annotations("val"))
        before = copy.deepcopy(dataset.content)
        evaluator = COCOEvaluator(dataset, ("bbox", "segm"), backend=backend)
        evaluator.evaluate()
        assert dataset.content == before

    def test_annotations_without_a_mask_are_left_out_of_segm_only(self):
        content = two_image_content()
        content["annotations"].append(square_annotation(2, 12, 7, (0, 0, 9, 9), segmentation=[]))
        result = evaluate(content, ([RIGHT_BOX], [2], [0.9]))
        assert result.per_class["bbox"]["dog"]["num_gt"] == 2
        assert result.per_class["segm"]["dog"]["num_gt"] == 1
        assert result.notes == ("segm: 1 annotation without a mask left out",)


class TestFiles:
    def test_results_and_numbers_are_written(self, tmp_path):
        folder = tmp_path / "inference" / "fake"
        result = evaluate(None, ([RIGHT_BOX], [2], [0.9]), output_folder=folder)
        names = ["bbox.json", "coco_results.json", "predictions.pth", "segm.json"]
        assert sorted(path.name for path in folder.iterdir()) == names
        numbers = json.loads((folder / "coco_results.json").read_text())
        assert numbers == json.loads(json.dumps(result.to_json()))
        assert numbers["metrics"]["bbox"]["APs"] is None

    def test_predictions_load_without_running_code(self, tmp_path):
        evaluate(None, ([RIGHT_BOX], [2], [0.9]), output_folder=tmp_path)
        predictions = torch.load(tmp_path / "predictions.pth", weights_only=True)
        assert predictions[11]["bbox"] == json.loads((tmp_path / "bbox.json").read_text())
        assert predictions[12] == {"bbox": [], "segm": []}

    def test_results_come_in_the_order_of_the_data_set(self, tmp_path):
        evaluator = make(output_folder=tmp_path)
        found = detections([RIGHT_BOX], [2], [0.9])
        evaluator.process([12, 11], [found, found])
        evaluator.evaluate()
        results = json.loads((tmp_path / "bbox.json").read_text())
        assert [result["image_id"] for result in results] == [11, 12]


class TestChecklist:
    def test_zero_ap_tells_what_was_detected_and_what_to_check(self, caplog):
        with caplog.at_level(logging.WARNING):
            evaluate(None, ([RIGHT_BOX], [1], [0.9]))
        assert "bbox AP is 0 (1 ground truth in 2 images)" in caplog.text
        assert "1 detection of 1 category in 1 image, scores 0.900 to 0.900" in caplog.text
        assert "MODEL.WEIGHT" in caplog.text

    def test_no_detections_at_all(self, caplog):
        evaluate(None, NOTHING)
        assert "There is not a single detection" in caplog.text

    def test_silent_otherwise(self, caplog):
        with caplog.at_level(logging.WARNING):
            evaluate(None, ([RIGHT_BOX], [2], [0.9]))
        assert caplog.text == ""


class TestRefusals:
    def test_unknown_image(self):
        with pytest.raises(ValueError, match=r"99.*fake"):
            make().process([99], [detections(*NOTHING)])

    def test_lengths_that_differ(self):
        with pytest.raises(ValueError, match=r"2 .*1 "):
            make().process([11, 12], [detections(*NOTHING)])

    def test_unknown_iou_type(self):
        with pytest.raises(ConfigError, match="panoptic"):
            make(iou_types=("bbox", "panoptic"))
