"""Classes are told by their names, whatever their numbers."""

import unicodedata

import pytest

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.datasets.classes import (
    joined_classes,
    matched_labels,
    unknown_names,
    with_classes_of_model,
)
from maskrcnn_benchmark.data.errors import DatasetError
from tests.data.tiny_coco import annotation, content, image, write

CAT_DOG = {1: "cat", 2: "dog"}


def dataset(tmp_path, categories, name="tiny", **sections):
    folder = tmp_path / name
    folder.mkdir()
    listed = [{"id": i, "name": n} for i, n in categories.items()]
    ann_file, root = write(folder, content(categories=listed, **sections))
    return COCODataset(ann_file, root, False, name=name)


def test_labels_are_matched_by_name():
    assert matched_labels({1: "dog", 2: "cat", 3: "cow"}, CAT_DOG) == {1: 2, 2: 1}
    assert matched_labels({1: " cat "}, CAT_DOG) == {1: 1}
    composed, apart = (unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD"))
    assert composed != apart
    assert matched_labels({1: composed}, {5: apart}) == {1: 5}


def test_of_names_that_occur_twice_the_first_is_the_first():
    assert matched_labels({1: "a", 2: "b", 3: "a"}, {1: "a", 2: "a"}) == {1: 1, 3: 2}


def test_classes_of_several_data_sets_together():
    assert joined_classes([CAT_DOG, {1: "cow", 2: "cat"}]) == {1: "cat", 2: "dog", 3: "cow"}
    assert joined_classes([]) == {}


def test_unknown_names_come_with_what_may_be_meant():
    assert unknown_names({1: "Cat", 2: "dog", 3: "xyz"}, CAT_DOG) == ["'Cat' ('cat'?)", "'xyz'"]


def test_a_data_set_takes_the_labels_of_a_model(tmp_path):
    """Ids stay those of its own file; the class that it lacks gets one that is free."""
    entries = [annotation(1, category_id=5), annotation(2, category_id=9)]
    given = dataset(tmp_path, {5: "dog", 9: "cat"}, annotations=entries)
    matched = given.with_classes({1: "cow", 2: "cat", 3: "dog"})
    assert matched[0][1].labels.tolist() == [3, 2]
    assert matched.contiguous_category_id_to_json_id == {3: 5, 2: 9, 1: 10}
    truth = matched.ground_truth()
    assert [entry["category_id"] for entry in truth["annotations"]] == [5, 9]
    assert {entry["name"]: entry["id"] for entry in truth["categories"]} == {
        "cow": 10,
        "cat": 9,
        "dog": 5,
    }
    assert given[0][1].labels.tolist() == [1, 2]  # unchanged
    assert given.with_classes(given.categories) is given


def test_what_the_model_does_not_know_is_left_out_and_told(tmp_path, caplog):
    images = [image(1), image(2)]
    entries = [annotation(1, 1, 5), annotation(2, 1, 9), annotation(3, 2, 9)]
    given = dataset(tmp_path, {5: "dog", 9: "Cat"}, images=images, annotations=entries)
    matched = given.with_classes(CAT_DOG)
    assert [entry["id"] for entry in matched.ground_truth()["annotations"]] == [1]
    assert [len(matched.get_target(index)) for index in range(2)] == [1, 0]
    assert "tiny: its classes 'Cat' ('cat'?) are not" in caplog.text
    assert "2 annotations" in caplog.text


def test_classes_that_have_no_name_in_common_are_an_error(tmp_path):
    given = dataset(tmp_path, {3: "bolt"}, annotations=[annotation()])
    with pytest.raises(DatasetError, match=r"bolt.*cat, dog"):
        given.with_classes(CAT_DOG)


def test_training_data_decide_the_order(tmp_path, caplog):
    train = dataset(tmp_path, {3: "cat", 7: "dog"}, "train")
    val = dataset(tmp_path, {3: "dog"}, "val", annotations=[annotation()])
    made = {("train", True): train, ("val", False): val}
    matched = with_classes_of_model(made, 4, {})
    assert matched["train", True] is train
    assert matched["val", False].categories == {1: "cat", 2: "dog", 3: "class 3"}
    assert matched["val", False][0][1].labels.tolist() == [2]
    assert not caplog.records


def test_several_data_sets_to_train_on_are_brought_together(tmp_path, caplog):
    one = dataset(tmp_path, {3: "cat"}, "one")
    two = dataset(tmp_path, {1: "dog", 3: "cat"}, "two")
    matched = with_classes_of_model({("one", True): one, ("two", True): two}, 3, {})
    assert {tuple(each.categories.items()) for each in matched.values()} == {tuple(CAT_DOG.items())}
    assert "data set one has no class dog" in caplog.text


def test_a_run_that_goes_on_keeps_its_classes(tmp_path):
    turned = dataset(tmp_path, {3: "dog", 7: "cat"})
    matched = with_classes_of_model({("tiny", True): turned}, 3, CAT_DOG)
    assert matched["tiny", True].categories == CAT_DOG
    assert matched["tiny", True][0][1].labels.tolist() == [2]
    more = dataset(tmp_path, {3: "dog", 7: "cow"}, "more")
    with pytest.raises(DatasetError, match=r"'cow'.*OUTPUT_DIR"):
        with_classes_of_model({("more", True): more}, 3, CAT_DOG)
