"""Evaluations during a training: the best checkpoint, the early end, and going on after a kill."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine import trainer as trainer_module
from maskrcnn_benchmark.engine.build import distribute
from maskrcnn_benchmark.engine.launch import ProcessPlace, Run
from maskrcnn_benchmark.engine.random_state import preserved_random_state, seed_everything
from maskrcnn_benchmark.engine.trainer import Trainer, do_train
from maskrcnn_benchmark.engine.validation import (
    EvaluationHook,
    ValidationSettings,
)
from maskrcnn_benchmark.evaluation import EvaluationResult
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.description import Category, read_description
from tests.engine.spawn import in_two_processes
from tests.engine.standins import TinyDetector, run_hook, tiny_loader, training_config

MAX_ITER = 12


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


def result(ap, threshold=0.25):
    metrics = {"bbox": {"AP": 50.0}, "segm": {"AP": ap}}
    return EvaluationResult(dataset="d", num_images=1, metrics=metrics, score_threshold=threshold)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


class Watched:
    """A run in a folder whose evaluations have given numbers, by iteration; None kills it."""

    def __init__(self, folder, monkeypatch, **solver):
        self.folder = folder
        self.evaluated = []
        self.numbers = {}
        self.cfg = training_config(
            folder, MAX_ITER=MAX_ITER, **{"TEST_PERIOD": 2, "CHECKPOINT_PERIOD": 3, **solver}
        )
        self.cfg.DATASETS.TEST = ("d",)
        monkeypatch.setattr(trainer_module, "make_evaluation", lambda *_: self.evaluate)
        monkeypatch.setattr(Trainer, "_timed_step", self.counting(Trainer._timed_step))

    def counting(self, step):
        def counted(trainer, batches):
            record = step(trainer, batches)
            self.iteration = record.iteration
            return record

        return counted

    def evaluate(self):
        number = self.numbers.get(self.iteration, 0.0)
        if number is None:
            raise Killed
        self.evaluated.append(self.iteration)
        return number if isinstance(number, EvaluationResult) else result(number)

    def train(self, numbers):
        self.numbers = numbers
        seed_everything(3)
        model = TinyDetector()
        optimizer = make_optimizer(self.cfg, model)
        scheduler = make_lr_scheduler(self.cfg, optimizer)
        checkpointer = DetectronCheckpointer(
            *(self.cfg, model, optimizer, scheduler, str(self.folder), True),
            categories=[Category(1, "cat")],
        )
        entries = {"iteration": 0, **checkpointer.load()}
        loader = tiny_loader(entries["iteration"], MAX_ITER)
        solver = self.cfg.SOLVER
        do_train(
            *(self.cfg, model, loader, loader, optimizer, scheduler, checkpointer, "cpu"),
            *(solver.CHECKPOINT_PERIOD, solver.TEST_PERIOD, entries),
        )
        return model

    def iteration_of(self, name):
        return torch.load(self.folder / f"{name}.pth", weights_only=True)["iteration"]


def result_of(run):
    return ValidationSettings.from_config(run.cfg).result_path(run.folder).name


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    return lambda **solver: Watched(tmp_path, monkeypatch, **solver)


def test_an_evaluation_leaves_no_trace():
    model, seen = nn.Dropout().train(), []

    def evaluate():
        model.eval()
        seen.append(torch.rand(1))

    with preserved_random_state():
        torch.manual_seed(1)
        expected = torch.rand(1)
        torch.manual_seed(1)
        run_hook(EvaluationHook(period=2, evaluate=evaluate), 5, model=model)
        assert torch.rand(1) == expected
    assert len(seen) == 2
    assert model.training


def test_without_the_new_keys_nothing_is_kept_or_evaluated_besides(make_run):
    run = make_run(TEST_PERIOD=5)
    run.train({5: 9.0})
    assert run.evaluated == [5, 10]
    assert not (run.folder / "model_best.pth").exists()
    assert result_of(run) == "model_final.pth"


def test_the_best_is_kept_and_of_equals_the_first(make_run):
    run = make_run(KEEP_BEST=True, TEST_PERIOD=5)
    run.train({5: 40.0, 10: 40.0, 12: 39.0})
    assert run.evaluated == [5, 10, 12]  # the last one, too, wherever it falls
    assert run.iteration_of("model_best") == 5
    assert run.iteration_of("model_final") == MAX_ITER
    assert result_of(run) == "model_best.pth"
    assert read_description(run.folder / "model_best.pth").score_threshold == 0.25
    assert "model_final" in (run.folder / "last_checkpoint").read_text()


@pytest.mark.parametrize("settings", [{"KEEP_BEST": True}, {"EARLY_STOP_PATIENCE": 2}])
def test_the_last_checkpoint_tells_its_own_threshold(make_run, settings):
    """Written before its evaluation, or after the one that ended the training."""
    run = make_run(**settings)
    run.train({2: result(10.0, 0.5), 6: result(0.0, 0.4), 12: result(0.0, 0.3)})
    assert run.iteration_of("model_best") == 2
    expected = 0.3 if "KEEP_BEST" in settings else 0.4
    assert read_description(run.folder / "model_final.pth").score_threshold == expected
    assert read_description(run.folder / "model_best.pth").score_threshold == 0.5


def test_watching_changes_nothing_in_the_training(make_run):
    watched = make_run(KEEP_BEST=True).train({2: 1.0, 8: 2.0})
    plain = make_run(TEST_PERIOD=0)
    for path in plain.folder.iterdir():
        path.unlink()
    torch.testing.assert_close(plain.train({}).state_dict(), watched.state_dict(), rtol=0, atol=0)


def test_the_best_is_the_average_that_was_evaluated(make_run):
    """And a training that ended early has its average in the last checkpoint, too."""
    run = make_run(EARLY_STOP_PATIENCE=2, EMA=0.6)
    model = run.train({2: 10.0, 4: 30.0})
    saved = {
        name: torch.load(run.folder / f"{name}.pth", weights_only=True)
        for name in ("model_best", "model_final")
    }
    assert (saved["model_best"]["iteration"], saved["model_final"]["iteration"]) == (4, 8)
    torch.testing.assert_close(
        dict(model.state_dict()), dict(saved["model_final"]["model"]), rtol=0, atol=0
    )
    for content in saved.values():
        weight = content["model"]["head.weight"]
        assert not torch.equal(weight, content["unaveraged"]["head.weight"])


def test_a_training_ends_early_and_stays_ended(make_run):
    run = make_run(EARLY_STOP_PATIENCE=2)
    run.train({2: 10.0, 4: 30.0, 6: 20.0, 8: 30.0, 10: 99.0})
    assert run.evaluated == [2, 4, 6, 8]
    assert (run.iteration_of("model_best"), run.iteration_of("model_final")) == (4, 8)
    before = (run.folder / "model_final.pth").read_bytes()
    run.train({})
    assert run.evaluated == [2, 4, 6, 8]
    assert (run.folder / "model_final.pth").read_bytes() == before


def test_more_patience_lets_an_ended_training_go_on(make_run):
    numbers = {2: 30.0, 10: 40.0}
    make_run(EARLY_STOP_PATIENCE=1).train(numbers)
    run = make_run(EARLY_STOP_PATIENCE=4)
    run.train(numbers)
    assert run.evaluated == [6, 8, 10, 12]
    assert (run.iteration_of("model_best"), run.iteration_of("model_final")) == (10, MAX_ITER)


def test_the_best_so_far_survives_a_kill(make_run):
    numbers = {2: 10.0, 4: 50.0, 6: 20.0, 8: 30.0}
    run = make_run(KEEP_BEST=True)
    with pytest.raises(Killed):
        run.train({**numbers, 8: None})
    assert run.evaluated == [2, 4, 6]
    run.train(numbers)  # from the checkpoint of iteration 6
    assert run.evaluated == [2, 4, 6, 8, 10, 12]
    assert run.iteration_of("model_best") == 4


def test_patience_counts_on_after_a_kill(make_run):
    numbers = {2: 10.0, 4: 50.0}
    run = make_run(EARLY_STOP_PATIENCE=3)
    with pytest.raises(Killed):
        run.train({**numbers, 8: None})
    run.train(numbers)
    assert run.evaluated[-1] == 10
    assert run.iteration_of("model_final") == 10


def test_the_best_of_another_run_in_the_folder_does_not_count(make_run):
    run = make_run(KEEP_BEST=True)
    run.train({2: 90.0})
    (run.folder / "last_checkpoint").unlink()
    run.train({8: 20.0})
    assert run.iteration_of("model_best") == 8


def test_no_number_is_no_best(make_run, caplog):
    run = make_run(KEEP_BEST=True, EARLY_STOP_PATIENCE=1)
    empty = result(None)
    empty.metrics["bbox"]["AP"] = None
    run.train(dict.fromkeys(range(MAX_ITER + 1), empty))
    assert run.iteration_of("model_final") == MAX_ITER
    assert result_of(run) == "model_final.pth"
    assert "nothing to be found" in caplog.text


def _train_in_a_process(rank, folder, numbers):
    """Iterations that were done before and after; the first process alone knows the numbers."""
    cfg = training_config(
        folder, MAX_ITER=MAX_ITER, TEST_PERIOD=2, EARLY_STOP_PATIENCE=2, CHECKPOINT_PERIOD=0
    )
    cfg.DATASETS.TEST = ("d",)
    cfg.MODEL.CHANNELS_LAST = False
    numbers = list(numbers)
    trainer_module.make_evaluation = lambda *_: (
        lambda: result(numbers.pop(0)) if rank == 0 else None
    )
    trainers = []
    init = Trainer.__init__

    def remembering(trainer, **arguments):
        init(trainer, **arguments)
        trainers.append(trainer)

    Trainer.__init__ = remembering
    seed_everything(3)
    model = TinyDetector()
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(cfg, model, optimizer, scheduler, str(folder))
    entries = {"iteration": 0, **checkpointer.load()}
    wrapped = distribute(model, Run(torch.device("cpu"), ProcessPlace(rank, rank, 2)))
    loader = tiny_loader(entries["iteration"], MAX_ITER)
    do_train(
        *(cfg, wrapped, loader, loader, optimizer, scheduler, checkpointer, "cpu", 0, 2, entries)
    )
    return entries["iteration"], [trainer.iteration for trainer in trainers]


@pytest.mark.slow
def test_processes_end_together(tmp_path):
    """And know it together when they are started again, though only the first reads the file."""
    folder = tmp_path / "run"
    numbers = [10.0, 30.0, 20.0, 20.0, 99.0]
    assert in_two_processes(_train_in_a_process, tmp_path / "1", folder, numbers) == [(0, [8])] * 2
    assert torch.load(folder / "model_best.pth", weights_only=True)["iteration"] == 4
    assert in_two_processes(_train_in_a_process, tmp_path / "2", folder, []) == [(8, [])] * 2


@pytest.mark.parametrize(
    ("solver", "key"),
    [
        ({"KEEP_BEST": True, "TEST_PERIOD": 0}, "SOLVER.KEEP_BEST"),
        ({"EARLY_STOP_PATIENCE": 2, "TEST_PERIOD": 0}, "SOLVER.EARLY_STOP_PATIENCE"),
        ({"EARLY_STOP_PATIENCE": -1, "TEST_PERIOD": 5}, "SOLVER.EARLY_STOP_PATIENCE"),
    ],
)
def test_settings_that_contradict_each_other(tmp_path, solver, key):
    cfg = training_config(tmp_path, **solver)
    cfg.DATASETS.TEST = ("d",)
    with pytest.raises(ConfigError, match=key):
        ValidationSettings.from_config(cfg)
    cfg = training_config(tmp_path, KEEP_BEST=True, TEST_PERIOD=5)
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST"):
        ValidationSettings.from_config(cfg)


def test_the_number_that_models_are_compared_by():
    assert result(40.0).headline() == ("segm AP", 40.0)
    assert result(None).headline() == ("bbox AP", 50.0)
    proposals = EvaluationResult(
        dataset="d", num_images=1, metrics={"box_proposal": {"AR@100": 3.0}}
    )
    assert proposals.headline() == ("box_proposal AR@100", 3.0)
