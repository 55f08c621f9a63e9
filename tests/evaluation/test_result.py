import pytest

from maskrcnn_benchmark.evaluation.result import (
    METRIC_NAMES,
    EvaluationResult,
    align_columns,
)

NUMBERS = {name: 10.0 + position for position, name in enumerate(METRIC_NAMES)}


@pytest.fixture
def result():
    return EvaluationResult(
        dataset="fake",
        num_images=2,
        metrics={"bbox": NUMBERS, "segm": {**NUMBERS, "APs": None, "ARs": None}},
        reasons={"segm": {"APs": "nothing small", "ARs": "nothing small"}},
        per_class={
            "bbox": {
                "dog": {"AP": 20.0, "AP50": 30.0, "num_gt": 4},
                "ant": {"AP": 20.0, "AP50": 25.0, "num_gt": 1},
                "cat": {"AP": 50.0, "AP50": 70.0, "num_gt": 2},
                "cow": {"AP": None, "AP50": None, "num_gt": 0},
            }
        },
        notes=("one photo is upside down",),
    )


def test_table_names_everything(result):
    lines = result.table().splitlines()
    assert lines[0] == "fake: 2 images, numbers in percent"
    assert lines[1].split() == list(METRIC_NAMES)
    assert lines[2].split() == ["bbox", *(f"{value:.1f}" for value in NUMBERS.values())]
    assert lines[3].split()[4] == "n/a"
    assert lines[4] == "  n/a: segm APs, segm ARs: nothing small"
    assert lines[5] == "  note: one photo is upside down"


def test_columns_are_aligned(result):
    header, bbox, segm = result.table().splitlines()[1:4]
    assert len(header) == len(bbox) == len(segm)


def test_per_class_table_is_sorted_by_ap_then_name(result):
    lines = result.per_class_table("bbox").splitlines()
    names = [part.split()[0] for part in lines[1].split("|")]
    assert names == ["cat", "ant", "dog"]
    assert lines[1].split("|")[1].split() == ["ant", "20.0", "25.0", "1"]
    assert lines[2] == "  1 category without ground truth"


@pytest.mark.parametrize("num_classes", [0, 1, 3, 4, 5, 10])
def test_per_class_table_runs_down_its_columns(num_classes):
    names = [f"c{position:02d}" for position in range(num_classes)]
    entries = {name: {"AP": 1.0, "AP50": 2.0, "num_gt": 3} for name in names}
    result = EvaluationResult(dataset="x", num_images=1, metrics={}, per_class={"segm": entries})
    rows = [line.split("|") for line in result.per_class_table("segm").splitlines()[1:]]
    columns = [[row[column] for row in rows if column < len(row)] for column in range(3)]
    listed = [cell.split()[0] for column in columns for cell in column if cell.strip()]
    assert listed == names


def test_per_class_table_of_something_not_evaluated(result):
    with pytest.raises(ValueError, match=r"bbox.*'keypoints'"):
        result.per_class_table("keypoints")


def test_json_has_everything(result):
    content = result.to_json()
    assert content["unit"] == "percent"
    assert content["metrics"]["segm"]["APs"] is None
    assert content["reasons"]["segm"]["APs"] == "nothing small"
    assert content["per_class"]["bbox"]["cow"]["num_gt"] == 0


def test_aligned_columns():
    assert align_columns([["a", "1"], ["bcd", "22"]]) == ["a     1", "bcd  22"]
