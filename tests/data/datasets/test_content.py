"""What is told about annotations that are wrong, as a whole or in places."""

import copy
import math

import pytest

from maskrcnn_benchmark.data.datasets.content import checked_content, sorted_categories
from maskrcnn_benchmark.data.errors import DatasetError
from tests.data.tiny_coco import SQUARE, annotation, content, image, without


def check(**sections):
    return checked_content(content(**sections), "memory")


def kept(checked):
    """The annotations that are left, image by image, as COCO writes them."""
    return [checked.annotations.annotation(row) for row in checked.annotations.rows_by_image]


def kept_ids(checked):
    return [entry["id"] for entry in kept(checked)]


def test_sound_content_comes_as_it_is():
    checked = check()
    assert kept(checked) == [without(without(annotation(), "image_id"), "category_id")]
    assert checked.annotations.labels.tolist() == [1]
    assert checked.images.info(0) == image()
    assert checked.categories == {3: "cat", 7: "dog"}
    assert checked.source == "memory"
    assert len(checked.skipped) == 0
    assert checked.has_outlines


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "'images'.*list.*NoneType.*COCO"),
        ({**content(), "images": {}}, "'images'.*list.*dict"),
        (without(content(), "categories"), "'categories'.*list"),
        ({**content(), "annotations": None}, "'annotations'.*list"),
        (content(images=[], annotations=[]), ".*'images'.*empty"),
        (content(categories=[], annotations=[]), ".*'categories'.*empty"),
    ],
)
def test_wrong_structure(data, message):
    with pytest.raises(DatasetError, match=rf"memory: {message}"):
        checked_content(data, "memory")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"images": ["1.png"]}, r"images\[0\].*object.*'1.png'"),
        ({"images": [without(image(), "id")]}, r"images\[0\].*'id'.*integer.*nothing"),
        ({"images": [image("")]}, r"'id'.*integer.*''"),
        ({"images": [image(), image(2, width=0)]}, r"images\[1\].*id 2.*'width'.*positive.*0"),
        ({"images": [image(height=8.5)]}, r"'height'.*positive integer.*8.5"),
        ({"images": [{**image(), "file_name": ""}]}, r"'file_name'.*''"),
        ({"categories": [{"id": 3}]}, r"categories\[0\].*id 3.*'name'.*nothing"),
        (
            {"annotations": [annotation(bbox=(1, 2, 3))]},
            r"'bbox'.*width.*\[1, 2, 3\]",
        ),
        ({"annotations": [annotation(bbox=(1, 2, 3, "4"))]}, r"'bbox'.*'4'"),
        ({"annotations": [without(annotation(9), "bbox")]}, r"id 9.*'bbox'.*nothing"),
        ({"annotations": [annotation(category_id=True)]}, "'category_id'.*integer.*True"),
    ],
)
def test_wrong_entries_are_named(sections, message):
    with pytest.raises(DatasetError, match=message):
        check(**sections)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"images": [image(), image(2), image()]}, r"images\[2\].*id 1 "),
        (
            {"annotations": [annotation(5), annotation(5)]},
            r"id 5 .*'annotations'",
        ),
        ({"categories": [{"id": 3, "name": "a"}] * 2}, r"id 3 .*'categories'"),
    ],
)
def test_duplicate_ids(sections, message):
    with pytest.raises(DatasetError, match=message):
        check(**sections)


def test_unknown_categories_are_an_error():
    strangers = [annotation(i, category_id=90 + i % 2) for i in range(4, 9)]
    with pytest.raises(DatasetError, match=r"5 .*4, 5, 6, \.\.\..*'categories'.*90, 91$"):
        check(annotations=[annotation(), *strangers])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"image_id": 2}, "with an image id that is not in 'images'"),
        ({"bbox": [0, 0, math.nan, 3]}, "with a box that is not finite"),
        ({"bbox": [math.inf, 0, 1, 3]}, "with a box that is not finite"),
        ({"segmentation": []}, "without an outline, while others have one"),
        ({"segmentation": None}, "without an outline, while others have one"),
        ({"segmentation": [[1, 2, 3, 4]]}, "with a damaged outline"),
        ({"segmentation": [[1, 2, 3, 4, math.nan, 6]]}, "with a damaged outline"),
        ({"segmentation": {"size": [10, 8], "counts": [80]}}, "with a damaged outline"),
        ({"segmentation": {"size": [8, 10], "counts": "1"}}, "with a damaged outline"),
    ],
)
def test_damaged_annotations_are_counted_and_left_out(broken, reason):
    checked = check(annotations=[annotation(1), annotation(2, **broken), annotation(3)])
    assert kept_ids(checked) == [1, 3]
    assert len(checked.skipped) == 1
    assert str(checked.skipped) == f"1 {reason} (ids 2)"


def test_reasons_are_listed_with_examples():
    broken = [annotation(i, bbox=(0, 0, math.nan, 1)) for i in range(10, 15)]
    checked = check(annotations=[annotation(1), annotation(2, image_id=5), *broken])
    assert str(checked.skipped) == (
        "1 with an image id that is not in 'images' (ids 2); "
        "5 with a box that is not finite (ids 10, 11, 12, ...)"
    )


def test_nothing_usable_is_an_error():
    with pytest.raises(DatasetError, match=r"memory.*2 with an image id"):
        check(annotations=[annotation(1, image_id=8), annotation(2, image_id=9)])


def test_unusable_polygons_of_an_instance_are_left_out():
    checked = check(annotations=[annotation(segmentation=[[1, 1, 2, 2], *SQUARE])])
    assert kept(checked)[0]["segmentation"] == SQUARE


def test_boxes_without_any_outline_are_a_box_data_set():
    entries = [without(annotation(1), "segmentation"), annotation(2, segmentation=[])]
    checked = check(annotations=entries)
    assert not checked.has_outlines
    assert kept_ids(checked) == [1, 2]


def test_missing_crowd_flag_and_area_are_filled_in():
    entry = without(without(annotation(bbox=(2, 1, 5, 5)), "iscrowd"), "area")
    (filled,) = kept(check(annotations=[entry]))
    assert (filled["iscrowd"], filled["area"]) == (0, 16.0)  # of the outline, not of the box
    entry = without(entry, "segmentation")
    assert kept(check(annotations=[entry]))[0]["area"] == 25


@pytest.mark.parametrize("area", [math.nan, -1, "16", None])
def test_impossible_areas_are_computed_anew(area):
    checked = check(annotations=[annotation(area=area)])
    assert kept(checked)[0]["area"] == 16.0


def test_no_annotations_are_fine_for_a_test_set():
    data = without(content(), "annotations")
    assert kept(checked_content(data, "memory")) == []
    assert "annotations" not in data


def test_what_was_given_is_left_as_it_is():
    data = content(annotations=[annotation(segmentation=[[1, 1, 2, 2], *SQUARE], area=None)])
    before = copy.deepcopy(data)
    checked_content(data, "memory")
    assert data == before


def test_categories_by_ascending_id():
    """Nothing else is looked at: a file of class names alone will do."""
    entries = [{"id": 9, "name": "nut"}, {"id": 4, "name": "bolt"}]
    assert sorted_categories({"categories": entries}, "memory") == entries[::-1]
    with pytest.raises(DatasetError, match=r"memory: categories\[0\].*'name'"):
        sorted_categories({"categories": [{"id": 1}]}, "memory")


def test_whole_numbers_written_as_floats_are_whole_numbers():
    """As MATLAB, pandas and NumPy write them; 1.5 is none."""
    floats = {"id": 1.0, "width": 10.0, "height": 8.0}
    entry = annotation(4.0, 1.0, 3.0)
    checked = check(
        images=[{**image(), **floats}],
        annotations=[entry],
        categories=[{"id": 3.0, "name": "cat"}],
    )
    assert checked.images.info(0) == image()
    assert checked.categories == {3: "cat"}
    assert kept_ids(checked) == [4]
    with pytest.raises(DatasetError, match=r"'image_id'.*integer.*1\.5"):
        check(annotations=[annotation(1, 1.5)])


def test_whole_numbers_written_as_text_are_whole_numbers():
    checked = check(
        images=[{**image(), "id": "1", "width": "10", "height": "8"}],
        annotations=[annotation("-4", "1", "03")],
        categories=[{"id": "3", "name": "7"}],
    )
    assert checked.images.info(0) == image()
    assert checked.categories == {3: "7"}
    assert kept_ids(checked) == [-4]
    for text in ("img1", "", "1.5", "9" * 20):
        with pytest.raises(DatasetError, match="'id' must be an integer"):
            check(categories=[{"id": text, "name": "cat"}])


@pytest.mark.parametrize("ids", [("b-2", "a/1.jpg"), ("9" * 20, "1.5"), ("x", 4)])
def test_ids_of_images_may_be_texts(ids):
    checked = check(
        images=[image(ids[0]), image(ids[1])],
        annotations=[annotation(7, ids[1]), annotation(8, ids[0]), annotation(9, "stranger")],
    )
    numbers = checked.images.ids.tolist()
    by_id = {checked.image_texts.get(number, number): place for place, number in enumerate(numbers)}
    assert by_id.keys() == set(ids)
    for own_id, annotation_id in ((ids[1], 7), (ids[0], 8)):
        (row,) = checked.annotations.rows(by_id[own_id])
        assert checked.annotations.ids[row] == annotation_id
    assert checked.skipped.ids == {"with an image id that is not in 'images'": [9]}


def test_a_text_that_occurs_twice_is_named():
    with pytest.raises(DatasetError, match=r"images\[1\].*id 7f-a occurs twice"):
        check(images=[image("7f-a"), image("7f-a")], annotations=[])


def test_annotations_need_no_ids_that_are_numbers():
    ids = ["7f3a-uuid", None, 1.5, 4]
    checked = check(annotations=[*map(annotation, ids), without(annotation(), "id")])
    assert len(set(kept_ids(checked))) == 5
    assert kept_ids(checked)[3] == 4


def test_ids_that_no_computer_word_holds_are_refused():
    with pytest.raises(DatasetError, match=r"'id'.*64 bits.*99999999999999999999"):
        check(images=[image(99999999999999999999)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(False, 0), (True, 1), ("0", 0), ("1", 1), ("false", 0), ("True", 1), (1.0, 1), (None, 0)],
)
def test_crowd_flags_in_any_spelling(value, expected):
    assert kept(check(annotations=[annotation(iscrowd=value)]))[0]["iscrowd"] == expected


def test_a_crowd_flag_that_says_nothing_is_damage():
    checked = check(annotations=[annotation(1), annotation(2, iscrowd="perhaps")])
    assert str(checked.skipped) == "1 with an 'iscrowd' that is neither 0 nor 1 (ids 2)"


def test_the_first_damaged_outline_is_explained():
    broken = annotation(2, segmentation={"size": [10, 8], "counts": [80]})
    told = check(annotations=[annotation(1), broken, annotation(3)]).skipped.explained()
    assert "RLE of size [10, 8] (h, w) in an image of [8, 10]" in told


def test_what_is_not_asked_for_cannot_be_wrong():
    """A model of boxes needs no outlines, a model of masks no keypoints."""
    entries = [
        annotation(1),
        without(annotation(2), "segmentation"),
        annotation(3, segmentation=[[1, 2, 3]]),
        annotation(4, keypoints=[1, 2, 3]),
        annotation(5, keypoints=[1, 2, 2] * 17),
    ]
    boxes = checked_content(content(annotations=entries), "memory", ())
    assert kept_ids(boxes) == [1, 2, 3, 4, 5]
    assert (boxes.has_outlines, boxes.has_keypoints) == (False, False)
    masks = checked_content(content(annotations=entries), "memory", ("masks",))
    assert kept_ids(masks) == [1, 4, 5]
    assert (masks.has_outlines, masks.has_keypoints) == (True, False)
    everything = check(annotations=entries)
    assert kept_ids(everything) == [1, 5]
    assert everything.has_keypoints


def test_fields_of_exporters_are_not_looked_at():
    """CVAT and Datumaro, Roboflow, Label Studio, each with types of their own."""
    extras = {"license": "", "flickr_url": 0, "coco_url": None, "date_captured": 0}
    more = {"attributes": {"occluded": False}, "score": "", "keypoints": None, "id_": "x"}
    checked = check(images=[{**image(), **extras}], annotations=[annotation(**more)])
    assert kept_ids(checked) == [1]
