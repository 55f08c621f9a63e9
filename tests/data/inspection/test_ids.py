"""Ids that do not fit each other are told all at once, and mended in a copy."""

import copy

import pytest

from maskrcnn_benchmark.data.datasets.content import checked_content
from maskrcnn_benchmark.data.inspection.ids import mend_ids
from tests.data.tiny_coco import annotation, content, image


def told(mended):
    return {finding.what: finding for finding in mended.findings}


def test_sound_ids_stay():
    data = content()
    mended = mend_ids(data)
    assert (mended.content, mended.findings) == (data, [])


@pytest.mark.parametrize("of_photos", [int, float, str])
@pytest.mark.parametrize("of_annotations", [int, float, str])
def test_ids_are_compared_as_they_are_read(of_photos, of_annotations):
    """Exports write 1, 1.0 or "1", and not always the same in all places."""
    data = content()
    for entry in data["images"] + data["categories"]:
        entry["id"] = of_photos(entry["id"])
    for entry in data["annotations"]:
        for key in ("image_id", "category_id"):
            entry[key] = of_annotations(entry[key])
    number = len(data["annotations"])
    mended = mend_ids(data)
    assert mended.findings == []
    assert len(checked_content(mended.content, "memory").annotations.ids) == number > 0


def test_what_cannot_be_an_id_is_of_no_photo():
    (finding,) = mend_ids(content(annotations=[annotation(1, [1])])).findings
    assert finding.what == "annotations of photos that are not in the list"


def test_everything_at_once():
    data = content(
        [image(1), image(2), image(1, file_name="again.png")],
        [annotation(4, 1), annotation(4, 2), annotation(5, 9), annotation(6, 1, 8)],
        [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 3, "name": "cow"}],
    )
    before = copy.deepcopy(data)
    mended = mend_ids(data)
    assert data == before
    assert len(mended.findings) == 5
    assert "again.png with id 1" in str(told(mended)["photos whose id another one has"])
    assert "cow with id 3" in str(told(mended)["classes whose id another one has"])
    checked = checked_content(mended.content, "memory")
    assert checked.annotations.ids.tolist() == [1, 2]
    assert len(checked.skipped) == 0


@pytest.mark.parametrize(("first", "step"), [(0, "+1"), (2, "-1")])
def test_ids_that_are_off_by_one_are_guessed(first, step):
    categories = [{"id": i, "name": str(i)} for i in (1, 2, 3)]
    entries = [annotation(i, category_id=first + i) for i in range(3)]
    (finding,) = mend_ids(content(annotations=entries, categories=categories)).findings
    assert finding.what == "annotations of classes that are not in the list"
    assert f"all would fit with {step}" in finding.advice


@pytest.mark.parametrize("data", [{}, {"images": {}}, {"images": ["a"]}, {"images": [{}]}])
def test_other_structures_are_left_to_the_reader(data):
    assert mend_ids(data).findings == []
