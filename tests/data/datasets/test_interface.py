"""What every data set offers, also those that were written for the original."""

import pickle

import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.data.datasets import COCODataset, PascalVOCDataset
from maskrcnn_benchmark.data.datasets.interface import AdaptedDataset, as_detection_dataset
from maskrcnn_benchmark.data.errors import DatasetError
from maskrcnn_benchmark.evaluation import COCOEvaluator, ProposalEvaluator, VOCEvaluator
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.data import tiny_coco, tiny_voc


class OldDataset:
    """No more than the original asks for: the third part of a sample is the position."""

    folder = "somewhere"

    def __len__(self):
        return 2

    def get_img_info(self, index):
        return {"height": 8, "width": 10, "id": 40 + index}

    def __getitem__(self, index):
        target = BoxList([[0, 0, 4, 4 + index]], (10, 8))
        target.add_field("labels", torch.tensor([1]))
        return Image.new("RGB", (10, 8)), target, index


def test_what_an_old_data_set_lacks_is_filled_in():
    old = OldDataset()
    dataset = as_detection_dataset(old, "mine", {1: "class 1", 2: "class 2"})
    assert (dataset.name, len(dataset)) == ("mine", 2)
    assert dataset.categories == {1: "class 1", 2: "class 2"}
    assert dataset.contiguous_category_id_to_json_id == {1: 1, 2: 2}
    assert (dataset.has_masks, dataset.has_keypoints) == (True, True)
    assert dataset.image_ids == [40, 41]
    assert dataset.id_to_img_map == {0: 40, 1: 41}
    _, target, image_id = dataset[1]
    assert (target.bbox.tolist(), image_id) == ([[0, 0, 4, 5]], 41)
    assert dataset.folder == "somewhere"  # whatever else it has
    assert vars(old) == {}  # unchanged
    assert pickle.loads(pickle.dumps(dataset)).image_ids == [40, 41]


def test_photos_without_targets_have_none():
    class Photos(OldDataset):
        def __getitem__(self, index):
            return Image.new("RGB", (10, 8)), None, index

    assert as_detection_dataset(Photos(), "mine", {1: "class 1"})[0][1:] == (None, 40)


def test_what_it_has_is_kept():
    class Named(OldDataset):
        name = "named"
        categories = {1: "cat"}
        image_ids = (7, 9)
        contiguous_category_id_to_json_id = {1: 30}
        has_masks = has_keypoints = False

        def ground_truth(self):
            return {"images": []}

    dataset = as_detection_dataset(Named(), "other", {1: "dog"})
    assert (dataset.name, dataset.categories) == ("named", {1: "cat"})
    assert (dataset.has_masks, dataset.has_keypoints) == (False, False)
    assert dataset[1][2] == 9
    assert dataset.ground_truth() == {"images": []}
    assert dataset.make_evaluator(("bbox",)).dataset is dataset


def test_positions_where_images_have_no_ids():
    class Bare(OldDataset):
        def get_img_info(self, index):
            return {"height": 8, "width": 10}

    assert AdaptedDataset(Bare(), "bare", {}).image_ids == [0, 1]


@pytest.mark.parametrize("method", ["read_image", "get_target", "ground_truth"])
def test_what_cannot_be_filled_in_is_told_when_it_is_needed(method):
    dataset = as_detection_dataset(OldDataset(), "mine")
    with pytest.raises(DatasetError, match=rf"mine.*{method}"):
        getattr(dataset, method)(*([] if method == "ground_truth" else [0]))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = dataset.nonsense


def test_each_data_set_makes_its_evaluator(tmp_path):
    coco = COCODataset(*tiny_coco.write(tmp_path), False)
    assert as_detection_dataset(coco, "other") is coco
    evaluator = coco.make_evaluator(
        ("bbox", "segm"), backend="pycocotools", output_folder=tmp_path / "out"
    )
    assert isinstance(evaluator, COCOEvaluator)
    assert (evaluator.iou_types, evaluator.backend) == (("bbox", "segm"), "pycocotools")
    assert evaluator.output_folder == tmp_path / "out"
    root = tiny_voc.write(tmp_path, {"1": tiny_voc.annotation(tiny_voc.entry())})
    voc = PascalVOCDataset(root, "val")
    assert isinstance(voc.make_evaluator(("bbox",)), VOCEvaluator)
    for dataset in (coco, voc):
        assert isinstance(dataset.make_evaluator((), box_only=True), ProposalEvaluator)


def test_names_that_are_known_without_the_photos():
    assert PascalVOCDataset.known_categories(data_dir="gone", split="val")[20] == "tvmonitor"
    assert AdaptedDataset.known_categories(size=3) == {}


def test_an_own_class_keeps_its_labels_and_gets_ids_for_more():
    class Named(OldDataset):
        categories = {1: "cat", 2: "dog"}
        contiguous_category_id_to_json_id = {1: 30, 2: 10}

    dataset = as_detection_dataset(Named(), "mine")
    assert dataset.has_class_names
    assert dataset.with_classes({1: "cat", 2: "dog"}) is dataset
    more = dataset.with_classes({1: "cat", 2: "dog", 3: "cow"})
    assert more.contiguous_category_id_to_json_id == {1: 30, 2: 10, 3: 31}
    assert more.categories[3] == "cow"
    assert dataset.categories == {1: "cat", 2: "dog"}
    assert more[1][2] == 41
    with pytest.raises(DatasetError, match=r"cat, dog.*model dog, cat.*with_classes"):
        dataset.with_classes({1: "dog", 2: "cat"})
    assert not as_detection_dataset(OldDataset(), "old", {1: "class 1"}).has_class_names
