import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

import centermask
import maskrcnn_benchmark
from maskrcnn_benchmark.config.errors import MissingPackageError
from maskrcnn_benchmark.engine.detections import Detections
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.factories import blob_probabilities

SIZE_WH = (12, 10)
NAMES = {1: "cat", 2: "dog"}
IDS = {1: 7, 2: 9}


def found(num_boxes=2, *, masks=True, mask_scores=None):
    boxes = BoxList(torch.tensor([[2.0, 1.0, 5.0, 6.0], [0, 0, 7, 3]])[:num_boxes], SIZE_WH)
    boxes.add_field("labels", torch.tensor([2, 1])[:num_boxes])
    boxes.add_field("scores", torch.tensor([0.5, 0.75])[:num_boxes])
    if masks:
        boxes.add_field("mask", blob_probabilities(num_boxes))
    if mask_scores:
        boxes.add_field("mask_scores", torch.tensor(mask_scores)[:num_boxes])
    return Detections(boxes, NAMES, IDS)


def test_objects_have_names_boxes_masks_and_scores():
    detections = found()
    objects = list(detections)
    assert [one.name for one in objects] == detections.names == ["dog", "cat"]
    assert [one.label for one in objects] == [2, 1]
    assert [one.category_id for one in objects] == [9, 7]
    assert [one.score for one in objects] == [0.5, 0.75]
    assert [list(one.box) for one in objects] == detections.boxes.tolist()
    assert detections.masks.shape == (2, 10, 12)
    assert detections.masks.dtype == np.bool_
    assert detections.masks.any()
    np.testing.assert_array_equal([one.mask for one in objects], detections.masks)
    np.testing.assert_array_equal(detections.masks, detections.predicted_masks.planes())


def test_selections_are_detections_too():
    detections = found()
    assert [one.name for one in detections[detections.scores > 0.6]] == ["cat"]
    assert detections[0].names == ["dog"]
    assert detections.above(0.0).names == ["cat", "dog"]
    assert detections.above(0.75).names == ["cat"]
    assert detections.resize((24, 20)).masks.shape == (2, 20, 24)


def test_labels_without_a_name_are_called_by_their_number():
    detections = Detections(found(), {}, {})
    assert [(one.name, one.category_id) for one in detections] == [("2", 2), ("1", 1)]
    assert [result["category_id"] for result in detections.to_coco(1)] == [2, 1]


@pytest.mark.parametrize("masks", [True, False])
def test_nothing_found(masks):
    detections = found(0, masks=masks)
    assert list(detections) == []
    assert detections.to_coco(3) == []
    assert detections.to_torchvision()["boxes"].shape == (0, 4)
    assert (detections.masks is not None) == masks
    assert detections.draw(Image.new("RGB", SIZE_WH)).size == SIZE_WH


def test_they_print_as_one_would_say_it():
    assert repr(found()) == "Detections(1 dog, 1 cat on 12 x 10 px)"
    assert "array" not in repr(list(found()))


def test_models_without_masks_have_none():
    detections = found(masks=False)
    assert detections.masks is None
    assert [one.mask for one in detections] == [None, None]
    assert "masks" not in detections.to_torchvision()


def test_coco_results_count_both_end_pixels_and_name_the_class():
    detections = found(mask_scores=[0.25, 0.5])
    first, second = detections.to_coco(image_id=4)
    assert (first["image_id"], first["category_id"], first["category_name"]) == (4, 9, "dog")
    assert first["bbox"] == [2.0, 1.0, 4.0, 6.0]
    assert [first["score"], second["score"]] == [0.25, 0.5]
    masks = coco_mask.decode([first["segmentation"], second["segmentation"]])
    np.testing.assert_array_equal(masks.transpose(2, 0, 1), detections.masks)


def test_torchvision_takes_edges():
    content = found().to_torchvision()
    assert content["boxes"].tolist() == [[2, 1, 6, 7], [0, 0, 8, 4]]
    assert content["labels"].tolist() == [2, 1]
    np.testing.assert_array_equal(content["masks"][:, 0].numpy(), found().masks)


def test_supervision_takes_arrays(monkeypatch):
    package = SimpleNamespace(Detections=lambda **arrays: arrays)
    monkeypatch.setitem(sys.modules, "supervision", package)
    arrays = found().to_supervision()
    assert arrays["xyxy"].tolist() == [[2, 1, 6, 7], [0, 0, 8, 4]]
    assert arrays["confidence"].tolist() == [0.5, 0.75]
    assert arrays["class_id"].tolist() == [2, 1]
    assert arrays["data"]["class_name"].tolist() == ["dog", "cat"]
    np.testing.assert_array_equal(arrays["mask"], found().masks)
    assert found(0).to_supervision()["xyxy"].shape == (0, 4)


def test_without_supervision_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingPackageError, match="pip install supervision"):
        found().to_supervision()


@pytest.mark.parametrize("package", [maskrcnn_benchmark, centermask])
def test_the_packages_give_the_public_names(package):
    assert package.Detections is Detections
    assert package.Predictor.from_checkpoint
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="Predictors"):
        _ = package.Predictors
