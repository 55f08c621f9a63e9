import json
import logging

import pytest
import torch

from maskrcnn_benchmark.engine import inference as inference_module
from maskrcnn_benchmark.engine.random_state import preserved_random_state, seed_everything
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.engine.standins import RecordingSaver, TinyDetector, tiny_loader, training_config

MAX_ITER = 10


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


class KilledDetector(TinyDetector):
    def __init__(self, at):
        super().__init__()
        self.left = at

    def forward(self, images, targets=None):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().forward(images, targets)


def run(folder, model_class=TinyDetector, num_workers=0, **solver):
    """A training run as the tool does it: begin anew, or go on from the last checkpoint."""
    cfg = training_config(folder, MAX_ITER=MAX_ITER, STEPS=(6, 9), MOMENTUM=0.9, **solver)
    seed_everything(3)
    model = model_class()
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(cfg, model, optimizer, scheduler, str(folder), True)
    arguments = {"iteration": 0, **checkpointer.load(cfg.MODEL.WEIGHT)}
    loader = tiny_loader(arguments["iteration"], MAX_ITER, num_workers)
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    do_train(
        cfg, model, loader, None, optimizer, scheduler, checkpointer, "cpu", period, 0, arguments
    )
    return model


def trace(folder):
    """The metrics, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"time", "data_time", "eta_seconds"}
    assert all(clock <= line.keys() for line in lines)
    return [{key: line[key] for key in line if key not in clock} for line in lines]


@pytest.mark.parametrize("killed_in_step", [3, 6, 8])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_killed_training_goes_on_exactly(tmp_path, killed_in_step, optimizer):
    """Killed before the first checkpoint (at 4), or with metrics beyond the last one."""
    settings = {"CHECKPOINT_PERIOD": 4, "OPTIMIZER": optimizer, "CLIP_GRAD_NORM": 2.0}
    whole = run(tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        run(tmp_path / "killed", lambda: KilledDetector(killed_in_step), **settings)
    assert len(trace(tmp_path / "killed")) == killed_in_step
    resumed = run(tmp_path / "killed", **settings)
    assert trace(tmp_path / "killed") == trace(tmp_path / "whole")
    assert [line["iteration"] for line in trace(tmp_path / "whole")] == list(range(1, MAX_ITER + 1))
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def weights_of(folder, entry="model"):
    return torch.load(folder / "model_final.pth", weights_only=True)[entry]


@pytest.mark.parametrize("solver", [{}, {"AMP": "bf16"}])
@pytest.mark.filterwarnings("ignore::UserWarning")  # a processor without bfloat16
def test_a_killed_training_goes_on_exactly_with_its_average(tmp_path, solver):
    settings = {"CHECKPOINT_PERIOD": 4, "EMA": 0.6, **solver}
    whole = run(tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        run(tmp_path / "killed", lambda: KilledDetector(6), **settings)
    resumed = run(tmp_path / "killed", **settings)
    assert trace(tmp_path / "killed") == trace(tmp_path / "whole")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    for entry in ("model", "unaveraged"):
        pair = [weights_of(tmp_path / name, entry) for name in ("killed", "whole")]
        torch.testing.assert_close(*pair, rtol=0, atol=0)
        assert {tensor.dtype for tensor in pair[0].values()} == {torch.float32}


def test_an_average_changes_nothing_in_the_training(tmp_path):
    averaged = run(tmp_path / "averaged", EMA=0.6)
    plain = run(tmp_path / "plain")
    assert trace(tmp_path / "averaged") == trace(tmp_path / "plain")
    own = weights_of(tmp_path / "averaged", "unaveraged")
    torch.testing.assert_close(own, dict(plain.state_dict()), rtol=0, atol=0)
    # What the training leads to, in the model and on the disk, is the average.
    saved = weights_of(tmp_path / "averaged")
    torch.testing.assert_close(dict(averaged.state_dict()), dict(saved), rtol=0, atol=0)
    assert not torch.equal(saved["head.weight"], own["head.weight"])


@pytest.mark.parametrize(("before", "after"), [(0.6, 0.0), (0.0, 0.6)])
def test_the_average_may_be_given_up_or_begun_on_the_way(tmp_path, before, after):
    with pytest.raises(Killed):
        run(tmp_path / "changed", lambda: KilledDetector(6), CHECKPOINT_PERIOD=4, EMA=before)
    run(tmp_path / "changed", CHECKPOINT_PERIOD=4, EMA=after)
    plain = run(tmp_path / "plain", CHECKPOINT_PERIOD=4)
    assert trace(tmp_path / "changed") == trace(tmp_path / "plain")
    content = torch.load(tmp_path / "changed" / "model_final.pth", weights_only=True)
    assert ("unaveraged" in content) is (after > 0)
    trained = content["unaveraged" if after else "model"]
    torch.testing.assert_close(dict(trained), dict(plain.state_dict()), rtol=0, atol=0)


def test_a_finished_training_with_an_average_may_be_made_longer(tmp_path):
    """The final checkpoint is written anew where it is gone, with all that it takes to go on."""
    run(tmp_path, CHECKPOINT_PERIOD=5, EMA=0.6)
    final = tmp_path / "model_final.pth"
    expected = torch.load(final, weights_only=True)
    final.unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000010.pth")
    run(tmp_path, CHECKPOINT_PERIOD=5, EMA=0.6)
    for entry in ("model", "unaveraged"):
        torch.testing.assert_close(weights_of(tmp_path, entry), expected[entry], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_workers_change_nothing(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "two", lambda: KilledDetector(6), num_workers=2, CHECKPOINT_PERIOD=4)
    run(tmp_path / "two", num_workers=1, CHECKPOINT_PERIOD=4)
    run(tmp_path / "none", CHECKPOINT_PERIOD=100)
    assert trace(tmp_path / "two") == trace(tmp_path / "none")


def test_the_files_of_a_run(tmp_path):
    run(tmp_path, CHECKPOINT_PERIOD=4)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "last_checkpoint",
        "metrics.jsonl",
        "model_0000004.pth",
        "model_0000008.pth",
        "model_final.pth",
    ]
    content = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert content["iteration"] == MAX_ITER
    assert sorted(content) == [
        *("iteration", "model", "optimizer", "rng_state", "scheduler", "settings")
    ]


def test_a_finished_training_says_so(tmp_path, caplog):
    first = run(tmp_path)
    before = (tmp_path / "model_final.pth").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        again = run(tmp_path)
    assert "Nothing to train: iteration 10 of SOLVER.MAX_ITER 10 is done" in caplog.text
    torch.testing.assert_close(again.state_dict(), first.state_dict(), rtol=0, atol=0)
    assert (tmp_path / "model_final.pth").stat().st_mtime_ns == before


def killed_after_saving(monkeypatch, due):
    """Let the process be killed right after the checkpoint ``due`` was written."""
    save = DetectronCheckpointer.save

    def save_and_die(self, name, **extra):
        save(self, name, **extra)
        if name == due:
            raise Killed

    monkeypatch.setattr(DetectronCheckpointer, "save", save_and_die)


@pytest.mark.parametrize("last_saved", ["model_final", "model_0000010"])
def test_a_training_killed_between_its_last_checkpoints_is_complete(
    tmp_path, monkeypatch, last_saved
):
    """Bug: killed before model_final, which the restart never wrote."""
    killed_after_saving(monkeypatch, last_saved)
    with pytest.raises(Killed):
        run(tmp_path, CHECKPOINT_PERIOD=5)
    assert (tmp_path / "model_final.pth").is_file()
    assert (tmp_path / "last_checkpoint").read_text().endswith("model_final.pth")


def test_a_finished_training_without_its_final_checkpoint_writes_it(tmp_path):
    whole = run(tmp_path, CHECKPOINT_PERIOD=5)
    final, latest = tmp_path / "model_final.pth", tmp_path / "last_checkpoint"
    expected = torch.load(final, weights_only=True)
    final.unlink()
    latest.write_text("model_0000010.pth")
    run(tmp_path, CHECKPOINT_PERIOD=5)
    assert latest.read_text().endswith("model_final.pth")
    content = torch.load(final, weights_only=True)
    assert content["iteration"] == MAX_ITER
    assert content.keys() == expected.keys()
    torch.testing.assert_close(content["model"], whole.state_dict(), rtol=0, atol=0)
    assert torch.equal(content["rng_state"][0]["torch"], expected["rng_state"][0]["torch"])


class InterruptedDetector(TinyDetector):
    def forward(self, images, targets=None):
        raise KeyboardInterrupt


def test_an_interrupted_training_says_how_to_go_on(tmp_path, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        run(tmp_path, InterruptedDetector)
    assert "stopped after iteration 0 of 10" in caplog.text
    assert "goes on from the last checkpoint" in caplog.text


def train_tiny(cfg, saver, arguments=None, data_loader_val=None, test_period=0):
    model = TinyDetector()
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    loader = tiny_loader(0, cfg.SOLVER.MAX_ITER)
    arguments = arguments or {"iteration": 0}
    do_train(
        cfg, model, loader, data_loader_val, optimizer, scheduler, saver, torch.device("cpu"),
        0, test_period, arguments,
    )  # fmt: skip


def test_other_entries_travel_with_the_checkpoints(tmp_path):
    saver, arguments = RecordingSaver(), {"iteration": 0, "note": "mine"}
    train_tiny(training_config(tmp_path, MAX_ITER=2), saver, arguments)
    (name, extra) = saver.saved[-1]
    assert (name, extra["note"], extra["iteration"]) == ("model_final", "mine", 2)
    assert arguments == {"iteration": 0, "note": "mine"}


def test_evaluations_happen_on_the_way(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        inference_module, "inference", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    cfg = training_config(tmp_path, MAX_ITER=5)
    cfg.DATASETS.TEST = ("first", "second")
    train_tiny(cfg, RecordingSaver(), data_loader_val="loader", test_period=2)
    assert len(calls) == 2
    (_, loader, name), kwargs = calls[0]
    assert (loader, name) == ("loader", "first")
    assert kwargs["output_folder"] == tmp_path / "inference" / "first"
    train_tiny(cfg, RecordingSaver(), data_loader_val=None, test_period=2)
    train_tiny(cfg, RecordingSaver(), data_loader_val="loader", test_period=0)
    assert len(calls) == 2
