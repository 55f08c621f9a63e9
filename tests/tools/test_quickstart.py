import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.evaluation import METRIC_NAMES
from tests.factories import rectangle
from tools import quickstart

SIZE_WH = (64, 48)
FAST = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "SOLVER.LOG_PERIOD", "1"]


def make_dataset(folder, name, image_ids, monkeypatch):
    """Photos of grey noise, each but the last with one red rectangle (a 'brick')."""
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for position, image_id in enumerate(image_ids):
        image = Image.fromarray(rng.integers(0, 255, (*SIZE_WH[::-1], 3), dtype=np.uint8))
        if position + 1 < len(image_ids):
            ImageDraw.Draw(image).rectangle((10, 10, 40, 35), fill="red")
            annotations.append(
                {
                    "id": image_id,
                    "image_id": image_id,
                    "category_id": 5,
                    "bbox": [10, 10, 31, 26],
                    "area": 31 * 26,
                    "iscrowd": 0,
                    "segmentation": [rectangle(10, 10, 41, 36)],
                }
            )
        file_name = f"{image_id}.png"
        image.save(folder / file_name)
        width, height = SIZE_WH
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
    categories = [{"id": 5, "name": "brick"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    entry = {"img_dir": str(folder), "ann_file": str(path)}
    monkeypatch.setitem(DatasetCatalog.DATASETS, name, entry)


@pytest.fixture
def bricks(tmp_path, monkeypatch):
    """Settings for a data set of bricks, as words of the command line."""
    make_dataset(tmp_path, "bricks_train", [1, 2, 3, 4, 5], monkeypatch)
    make_dataset(tmp_path, "bricks_val", [6, 7, 8], monkeypatch)
    names = ["DATASETS.TRAIN", "('bricks_train',)", "DATASETS.TEST", "('bricks_val',)"]
    return [*names, "MODEL.NUM_CLASSES", "2", *FAST]


def call(output, words):
    quickstart.main(["--output", str(output), *words])


def test_everything_that_was_promised_is_written(bricks, tmp_path, capsys):
    output = tmp_path / "out"
    call(output, [*bricks, "SOLVER.MAX_ITER", "2"])
    printed = capsys.readouterr().out
    promised = "log.txt model_final.pth metrics.json metrics.txt loss_curves.png report.html"
    for name in [*promised.split(), "predictions_train.png", "predictions_val.png"]:
        assert (output / name).stat().st_size > 0
        assert f"  {output / name}\n" in printed
    weights = output / "model_final.pth"
    last_lines = printed.splitlines()[-5::2]
    assert [line.split("centermask ")[1] for line in last_lines] == [
        f"predict {weights} photo.jpg --output drawn",
        f"serve {weights}",
        "train --data my_photos",
    ]
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics) == ["train", "val"]
    for split in metrics.values():
        assert list(split) == ["bbox", "segm"]
        assert all(list(numbers) == list(METRIC_NAMES) for numbers in split.values())
    text = (output / "metrics.txt").read_text()
    assert "train: bricks_train: 5 images" in text
    assert "val: bricks_val: 3 images" in text
    report = (output / "report.html").read_text()
    for note in (
        "Trained on 4 photos of bricks_train with 4 objects of 1 category (brick 4), starting from "
        "catalog://quickstart/mobilenet_v2. The train numbers are of all its 5 photos.",
        "The val numbers are of 3 photos of bricks_val, on which it was not trained.",
    ):
        assert note in report
        assert note in text
    check_second_run(output, bricks)


def check_second_run(output, bricks):
    """The same command evaluates and draws again, without training again."""
    weights = (output / "model_final.pth").read_bytes()
    (output / "report.html").unlink()
    call(output, [*bricks, "SOLVER.MAX_ITER", "2"])
    assert (output / "report.html").exists()
    assert (output / "model_final.pth").read_bytes() == weights


def settings(*words):
    return quickstart.make_settings(quickstart.parse_args(words))


def test_the_default_settings_evaluate_on_both_splits():
    cfg = settings()
    assert cfg.DATASETS.TRAIN == ("boards_train",)
    assert cfg.DATASETS.TEST == ("boards_train", "boards_val")
    assert cfg.OUTPUT_DIR == "output/demo"
    assert cfg.is_frozen()


def test_the_command_line_wins():
    cfg = settings("--output", "elsewhere", "SOLVER.MAX_ITER", "7")
    assert (cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER) == ("elsewhere", 7)


@pytest.mark.parametrize("test", ["()", "('boards_train',)", "('coco_2017_val', 'a')"])
def test_other_than_one_train_and_one_test_split_is_refused(test):
    with pytest.raises(ConfigError, match=r"DATASETS\.TRAIN"):
        settings("DATASETS.TEST", test)
