import logging

import pytest

from maskrcnn_benchmark.weights.load_report import LoadReport, ShapeMismatch, summarize

CLASS_LAYER = ShapeMismatch("rpn.head.cls_logits.weight", (80, 256, 3, 3), (2, 256, 3, 3))


@pytest.mark.parametrize(
    ("in_file", "in_model", "changed"),
    [
        ((80, 256, 3, 3), (2, 256, 3, 3), (80, 2)),
        ((80,), (2,), (80, 2)),
        ((64, 17, 4, 4), (64, 5, 4, 4), (17, 5)),
        ((256, 256, 3, 3), (128, 128, 3, 3), None),
        ((81, 256), (81, 256, 1, 1), None),
        ((), (1,), None),
    ],
)
def test_the_one_dimension_that_differs(in_file, in_model, changed):
    assert ShapeMismatch("x", in_file, in_model).changed_size == changed


@pytest.mark.parametrize(
    "report",
    [
        LoadReport(missing=("a",)),
        LoadReport(unexpected=("a",)),
        LoadReport(shape_mismatch=(CLASS_LAYER,)),
        LoadReport(outside=("a",)),
    ],
)
def test_any_disagreement_is_not_exact(report: LoadReport):
    assert not report.is_exact


def test_what_no_detector_needs_does_not_count():
    assert LoadReport(loaded=("a",), ignored=("fc.weight",)).is_exact


def test_few_names_are_listed_and_many_are_counted_by_group():
    assert summarize(("a.b", "c.d")) == "a.b, c.d"
    names = [f"rpn.head.{i}.weight" for i in range(10)]
    many = (*names, "roi_heads.mask.x", "roi_heads.mask.y")
    assert summarize(many) == "rpn.head.* (10), roi_heads.mask.* (2)"


def test_hidden_groups_are_counted():
    many = tuple(f"part{i}.layer.weight" for i in range(11))
    assert summarize(many).endswith("part7.layer.* (1) and 3 more groups")


def test_the_log_says_in_words_what_happened(caplog: pytest.LogCaptureFixture):
    report = LoadReport(
        loaded=("a.weight",),
        missing=("b.weight",),
        unexpected=("c.weight", "c.bias"),
        shape_mismatch=(CLASS_LAYER,),
        ignored=("fc.weight",),
    )
    with caplog.at_level(logging.DEBUG):
        report.log(logging.getLogger("load"), "w.pth (a checkpoint)")
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines[0] == ("INFO", "Loaded 1 of the model's 3 tensors from w.pth (a checkpoint)")
    assert lines[1] == ("INFO", "Not needed from it: fc.weight")
    assert lines[2] == (
        "WARNING",
        "w.pth (a checkpoint): 1 tensor of another shape, not loaded:\n"
        "  tensor                      in the file       in the model\n"
        "  rpn.head.cls_logits.weight  80 x 256 x 3 x 3  2 x 256 x 3 x 3",
    )
    assert lines[3] == ("WARNING", "w.pth (a checkpoint): 1 tensor missing in the file: b.weight")
    assert lines[4][1].endswith("2 tensors of the file unknown to the model: c.weight, c.bias")
    assert lines[5] == ("DEBUG", "All missing tensors: b.weight")


def test_an_exact_load_and_an_expected_backbone_warn_of_nothing(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        LoadReport(loaded=("a", "b")).log(logging.getLogger("load"), "w.pth")
        LoadReport(loaded=("a",), outside=("rpn.b",)).log(logging.getLogger("load"), "w.pth")
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert "Only a backbone; untouched: rpn.b" in caplog.messages
