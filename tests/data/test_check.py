"""The look through a data set."""

import logging
import subprocess
import sys

import pytest

from maskrcnn_benchmark.data.check import check_dataset, main
from maskrcnn_benchmark.data.datasets import COCODataset
from tests.data import tiny_voc
from tests.data.tiny_coco import annotation, content, image, write


@pytest.fixture(autouse=True)
def _loud(caplog):
    caplog.set_level(logging.INFO)


def arguments(ann_file, root):
    return ["--ann-file", str(ann_file), "--root", str(root)]


def test_a_sound_data_set(tmp_path, caplog):
    assert main(arguments(*write(tmp_path))) == 0
    assert caplog.messages[-1].splitlines() == [
        "1 images, 0 of them without targets",
        "1 training targets in 2 categories:",
        "  cat: 1",
        "  dog: 0",
        "MODEL.NUM_CLASSES for this data set: 3",
        "0 images cannot be used",
    ]


def test_all_that_is_wrong_is_told_at_once(tmp_path, caplog):
    images = [image(i) for i in (1, 2, 3)]
    entries = [annotation(1, 1), annotation(2, 1, 7), annotation(3, 2, segmentation=[[1, 2]])]
    ann_file, root = write(tmp_path, content(images, entries))
    (root / "1.png").unlink()
    (root / "3.png").write_text("no image")
    assert main(arguments(ann_file, root)) == 1
    assert "1 with a damaged outline (ids 3)" in caplog.text
    assert "2 images cannot be used\n  no such image file" in caplog.text
    assert "3.png: not an image" in caplog.text
    report = check_dataset(COCODataset(ann_file, root, False))
    assert report.instances == {"cat": 1, "dog": 1}
    assert (report.num_images, report.num_without_targets) == (3, 2)


def test_any_data_set_of_a_catalog(tmp_path, caplog):
    """In VOC's format, here; its catalog is a file of the user."""
    root = tiny_voc.write(tmp_path, {"1": tiny_voc.annotation(tiny_voc.entry())})
    entry = {"factory": "PascalVOCDataset", "data_dir": str(root), "split": "val"}
    catalog = tmp_path / "catalog.py"
    catalog.write_text(
        "from maskrcnn_benchmark.config import paths_catalog\n"
        "class DatasetCatalog(paths_catalog.DatasetCatalog):\n"
        f"    DATASETS = {{'own': {entry!r}}}\n"
    )
    assert main(["--name", "own", "--catalog", str(catalog)]) == 0
    assert "1 training targets in 20 categories" in caplog.text
    assert main(["--name", "other", "--catalog", str(catalog)]) == 1
    assert "unknown data set 'other'" in caplog.text


def test_something_must_be_looked_through(capsys):
    with pytest.raises(SystemExit):
        main(["--root", "."])
    assert "give --ann-file and --root, or --name" in capsys.readouterr().err


def test_damaged_annotations_alone_are_an_exit_status(tmp_path):
    entries = [annotation(1), annotation(2, image_id=5)]
    assert main(arguments(*write(tmp_path, content(annotations=entries)))) == 1


def test_an_unusable_file(tmp_path, caplog):
    assert main(arguments(tmp_path / "gone.json", tmp_path)) == 1
    assert "no such annotation file" in caplog.text


@pytest.mark.slow
def test_as_a_command(tmp_path):
    command = [sys.executable, "-m", "maskrcnn_benchmark.data.check"]
    result = subprocess.run(
        [*command, *arguments(*write(tmp_path))], capture_output=True, text=True, check=True
    )
    assert "MODEL.NUM_CLASSES for this data set: 3" in result.stdout
