import json
from pathlib import Path

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data.datasets import readers
from maskrcnn_benchmark.data.datasets.coco_json import scan_coco_json
from maskrcnn_benchmark.engine.random_state import preserved_random_state
from maskrcnn_benchmark.engine.trainer import Trainer
from tests.contract import markdown
from tests.tools.small_run import CONFIG, ROOT, arguments, trace, write_data_set
from tools import train_net


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def finished(catalog, tmp_path_factory):
    """Folder of a run that was never interrupted and evaluated once on the way."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train_net.main(arguments(catalog, folder, SOLVER__TEST_PERIOD=4))
    return folder


@pytest.mark.parametrize(
    "words", [["--local-rank", "3"], ["--local-rank=3"], ["--local_rank=3"], ["--local_rank", "3"]]
)
def test_every_spelling_of_the_local_rank_is_understood(words):
    args = train_net.parse_args([*words, "--config-file", "a.yaml", "SEED", "5"])
    assert (args.local_rank, args.config_file, args.opts) == (3, "a.yaml", ["SEED", "5"])
    assert args.skip_test is False


def test_a_run_leaves_its_files(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    inference = {"bbox.json", "segm.json", "coco_results.json", "predictions.pth"}
    assert names == {
        "config.yml",
        "last_checkpoint",
        "log.txt",
        "metrics.jsonl",
        "model_0000002.pth",
        "model_0000004.pth",
        "model_0000006.pth",
        "model_final.pth",
        *(f"inference/small/{name}" for name in inference),
    }


def test_the_log_tells_the_story(finished):
    log = (finished / "log.txt").read_text()
    for part in (
        "this one on cpu",
        "Start training: iterations 1 to 6",
        "evaluating at iteration 4",
        "loss_maskiou: ",
        "Total training time",
        "Start evaluation on small (5 images)",
    ):
        assert part in log
    assert log.count("Start evaluation") == 2


def test_the_metrics_have_all_losses_and_the_schedule(finished):
    lines = trace(finished)
    losses = {"loss_cls", "loss_reg", "loss_centerness", "loss_mask", "loss_maskiou"}
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert losses | {"iteration", "loss", "lr"} == line.keys()
        assert line["loss"] == pytest.approx(sum(line[name] for name in losses))
    rates = [0.01 / 3, 0.01 / 3, 0.01, 0.01, 0.001, 0.001]
    assert [line["lr"] for line in lines] == pytest.approx(rates)


def test_the_settings_of_the_run_can_be_used_again(finished):
    train_net.main(["--config-file", str(finished / "config.yml"), "--skip-test"])
    log = (finished / "log.txt").read_text()
    assert "Nothing to train: iteration 6 of SOLVER.MAX_ITER 6 is done" in log


def test_an_annotation_file_is_read_once_in_a_run(catalog, tmp_path, monkeypatch):
    """With training, evaluations during it and after it on the same data set."""
    read = []

    def counted(ann_file, root):
        read.append(Path(ann_file).name)
        return scan_coco_json(ann_file, root)

    monkeypatch.setattr(readers, "READERS", {"coco_json": counted})
    periods = {"SOLVER__MAX_ITER": 2, "SOLVER__TEST_PERIOD": 1}
    train_net.main(arguments(catalog, tmp_path, **periods))
    assert (tmp_path / "log.txt").read_text().count("Start evaluation") == 3
    assert read == ["annotations.json"]


def test_a_format_of_ones_own_is_trained_on_and_evaluated(tmp_path, monkeypatch):
    """One function and one line in the catalog: those of docs/datasets.md."""
    # The page's lines add to the catalog of the package.
    monkeypatch.setattr(DatasetCatalog, "DATASETS", dict(DatasetCatalog.DATASETS))
    write_data_set(tmp_path)
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "classes.txt").write_text("square")
    for i in range(1, 5):
        (labels / f"{i}.txt").write_text("0 0.1 0.1 0.6 0.1 0.6 0.6 0.1 0.6\n")
    entry = {"img_dir": str(tmp_path / "images"), "ann_file": str(labels)}
    program = markdown.blocks(ROOT / "docs" / "datasets.md", "python")[0]
    line = f'DatasetCatalog.DATASETS["own"] = {entry | {"reader": "?"}}'.replace(
        "'?'", "read_labels"
    )
    catalog = tmp_path / "own_catalog.py"
    catalog.write_text(f"{program}\n{line}\n")
    names = {"DATASETS__TRAIN": "('own',)", "DATASETS__TEST": "('own',)", "MODEL__NUM_CLASSES": 2}
    output = tmp_path / "out"
    train_net.main(arguments(catalog, output, SOLVER__MAX_ITER=2, **names))
    results = json.loads((output / "inference" / "own" / "coco_results.json").read_text())
    assert (results["num_images"], results["metrics"]["segm"]["AP"] is None) == (5, False)
    assert results["per_class"]["bbox"]["square"]["num_gt"] == 4
    assert "1 of 5 images have no annotation to train on" in (output / "log.txt").read_text()


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


def kill_in_step(monkeypatch, step):
    """Let the step of this number (from 1) in the next run be its last, unfinished one."""
    whole, left = Trainer.run_step, [step]

    def run_step(self, batch):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return whole(self, batch)

    monkeypatch.setattr(Trainer, "run_step", run_step)


def test_a_killed_run_goes_on_exactly(catalog, finished, tmp_path, monkeypatch):
    """Killed twice: after a checkpoint, and at once after the resumption from it."""
    for step in (4, 2):
        with monkeypatch.context() as patch:
            kill_in_step(patch, step)
            with pytest.raises(Killed):
                train_net.main(arguments(catalog, tmp_path))
    (tmp_path / ".model_0000004.pth.77.unfinished").write_bytes(b"half")
    train_net.main(["--skip-test", *arguments(catalog, tmp_path)])
    assert trace(tmp_path) == trace(finished)
    ours, theirs = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (tmp_path, finished)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert not list(tmp_path.glob(".*"))


def test_a_training_that_explodes_says_why_and_keeps_its_checkpoints(catalog, tmp_path):
    with pytest.raises(FloatingPointError, match=r"images \[\d, \d\].*SOLVER\.BASE_LR"):
        train_net.main(
            arguments(
                catalog, tmp_path, SOLVER__BASE_LR=1e30, SOLVER__WARMUP_ITERS=0, MODEL__WEIGHT=""
            )
        )
    assert "FloatingPointError: a loss is not finite" in (tmp_path / "log.txt").read_text()
    for path in tmp_path.glob("*.pth"):
        weights = torch.load(path, weights_only=True)["model"].values()
        assert all(value.isfinite().all() for value in weights)


def test_a_class_count_that_does_not_fit_is_an_error_before_training(catalog, tmp_path):
    with pytest.raises(ValueError, match=r"2 categories.*1 class"):
        train_net.main(arguments(catalog, tmp_path, MODEL__NUM_CLASSES=2))
    assert not list(tmp_path.glob("*.pth"))


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LRR"):
        train_net.main(["--config-file", str(CONFIG), "SOLVER.BASE_LRR", "1"])


def test_results_are_json(finished):
    results = json.loads((finished / "inference" / "small" / "coco_results.json").read_text())
    assert set(results["metrics"]) == {"bbox", "segm"}
    assert results["num_images"] == 5


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("DATASETS__TEST", "('typo',)", "unknown data set 'typo'"),
        ("TEST__COCO_BACKEND", "none", r"TEST\.COCO_BACKEND: expected 'hotcoco'"),
        ("TEST__EXPECTED_RESULTS", "[['bbox', 'AP', [41.2, 0.2]]]", "fractions of 1"),
    ],
)
def test_what_only_the_evaluation_needs_is_checked_first(
    catalog, tmp_path, setting, value, message
):
    with pytest.raises(ConfigError, match=message):
        train_net.main(arguments(catalog, tmp_path, **{setting: value}))
    assert not list(tmp_path.glob("*.pth"))


def test_without_settings_the_usage_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        train_net.parse_args([])
    assert caught.value.code == 2
    assert "--config-file CONFIG" in capsys.readouterr().err
