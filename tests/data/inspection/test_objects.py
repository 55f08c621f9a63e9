"""What is found in annotations, each fault alone."""

import pytest

from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.inspection.findings import ERROR, NOTE, WARNING
from maskrcnn_benchmark.data.inspection.objects import Objects, crosses_itself, find_in_objects
from tests.data.tiny_coco import annotation, content, image, without, write

SIDE = 64
SQUARE = [[10, 10, 40, 10, 40, 40, 10, 40]]


def entry(number=1, bbox=(10, 10, 30, 30), **more):
    return annotation(number, bbox=bbox, **{"segmentation": SQUARE, "area": 900, **more})


def found(tmp_path, *entries):
    """Finding's words -> (severity, ids of annotations, advice), without those of few objects."""
    data = content([image(width=SIDE, height=SIDE)], list(entries))
    dataset = COCODataset(*write(tmp_path, data, with_images=False), False)
    return {
        finding.what: finding
        for finding in find_in_objects(Objects(dataset))
        if finding.places and "classes" not in finding.what
    }


def ids(finding):
    return [place.annotation for place in finding.places]


def test_sound_annotations(tmp_path):
    assert found(tmp_path, entry(1), entry(2, (11, 10, 30, 30))) == {}


@pytest.mark.parametrize(
    ("fault", "severity", "words"),
    [
        ({"bbox": [0.1, 0.2, 0.5, 0.3]}, ERROR, "coordinates from 0 to 1"),
        ({"bbox": [100, 10, 30, 30]}, ERROR, "empty or outside"),
        ({"bbox": [10, 10, 0, 30]}, ERROR, "empty or outside"),
        ({"bbox": [30, 10, 60, 30], "segmentation": []}, WARNING, "reach out"),
        ({"bbox": [10, 10, 3, 30], "segmentation": []}, WARNING, "less than 4 px"),
        ({"segmentation": {"size": [64, 64], "counts": [4096]}}, ERROR, "cover no pixel"),
        ({"segmentation": [[10, 10, 40, 40, 40, 10, 10, 40]]}, WARNING, "cross themselves"),
        ({"bbox": [40, 40, 10, 10]}, WARNING, "do not fit"),
    ],
)
def test_one_fault(tmp_path, fault, severity, words):
    box_only = fault.get("segmentation") == []
    sound = entry(7, (12, 12, 30, 30))
    both = [{**entry(5), **fault}, without(sound, "segmentation") if box_only else sound]
    (finding,) = found(tmp_path, *both).values()
    assert words in finding.what
    assert (finding.severity, ids(finding)) == (severity, [5])
    assert "annotation 5 of 1.png" in str(finding)


def test_two_corners_in_place_of_a_size_are_guessed(tmp_path):
    small = [[30, 30, 40, 30, 40, 40, 30, 40]]
    entries = [entry(i, (30, 30, 40, 39 + i), segmentation=small) for i in (1, 2)]
    told = found(tmp_path, *entries)
    assert "two corners" in told["boxes that do not fit their outlines"].advice


@pytest.mark.parametrize(("count", "severity"), [(1, NOTE), (3, ERROR)])
def test_crowds_are_a_note_unless_nearly_all_are(tmp_path, count, severity):
    entries = [entry(i, (10 + i, 10, 30, 30), iscrowd=int(i <= count)) for i in range(1, 5)]
    finding = found(tmp_path, *entries)["annotations that are crowds"]
    assert (finding.severity, len(finding.places)) == (severity, count)
    assert "iscrowd to 0" in finding.advice


def test_repeated_annotations(tmp_path):
    (finding,) = found(tmp_path, entry(1), entry(2), entry(3, category_id=7)).values()
    assert ids(finding) == [2]


def test_more_objects_than_are_counted(tmp_path):
    entries = [entry(i, (i / 4, 10, 30, 30), segmentation=[]) for i in range(1, 102)]
    finding = found(tmp_path, *entries)["photos with more than 100 objects of a class"]
    assert finding.severity == NOTE


def test_classes(tmp_path):
    categories = [{"id": i, "name": name} for i, name in ((3, "cat"), (4, "dog"), (7, "cat"))]
    entries = [entry(i, (i / 4, 10, 30, 30), segmentation=[]) for i in range(1, 101)]
    entries.append(entry(200, category_id=7, segmentation=[]))
    data = content([image(width=SIDE, height=SIDE)], entries, categories)
    dataset = COCODataset(*write(tmp_path, data, with_images=False), False)
    told = {one.what: str(one) for one in find_in_objects(Objects(dataset)) if one.places}
    assert "'cat'" in told["names that several classes have"]
    assert "cat: 1" in told["classes of less than 10 objects"]
    assert "100, the rarest 1" in told["great difference between classes"]
    assert "dog" in told["classes without an object"]


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        ([0, 0, 4, 0, 4, 4, 0, 4], False),
        ([0, 0, 4, 4, 4, 0, 0, 4], True),
        ([0, 0, 4, 0, 0, 4], False),
        ([0, 0, 4, 0, 4, 0, 4, 4, 0, 4, 0, 0], False),  # repeated points
        ([0, 0, 2, 0, 4, 0, 4, 4, 0, 4], False),  # three points on a line
        ([0, 0, 4, 0, 4, 4, 2, 0, 0, 4], False),  # touches, does not cross
        ([0, 0, 6, 0, 6, 4, 3, -1, 0, 4], True),
    ],
)
def test_polygons_that_cross_themselves(polygon, expected):
    assert crosses_itself(polygon) is expected
