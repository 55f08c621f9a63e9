"""The moving average of weights: what it is, and that a training is none the worse for it."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.averaging import WeightAverage, make_weight_average
from maskrcnn_benchmark.engine.build import distribute
from maskrcnn_benchmark.engine.hooks import (
    CheckpointHook,
    CheckpointWriter,
    Hook,
    StepRecord,
)
from maskrcnn_benchmark.engine.launch import ProcessPlace, Run
from maskrcnn_benchmark.engine.random_state import seed_everything
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.engine.validation import EvaluationHook
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.load_report import CheckpointError
from tests.engine.spawn import in_two_processes
from tests.engine.standins import (
    RecordingSaver,
    TinyDetector,
    run_hook,
    tiny_loader,
    training_config,
)


def fill(model, value):
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(value)


def step(average, iteration):
    average.after_step(None, StepRecord(iteration, {}, 0.1, None, 0.0, 0.0))


def first_weight(model):
    return next(model.parameters()).flatten()[0].item()


@pytest.mark.parametrize("decay", [0.1, 0.5, 0.9])
def test_the_average_is_the_sum_written_out(decay):
    model = nn.Linear(2, 1)
    fill(model, 1.0)
    average, expected = WeightAverage(model, decay), 1.0
    for iteration, weight in enumerate([4.0, -2.0, 8.0, 8.0], start=1):
        fill(model, weight)
        step(average, iteration)
        kept = min(decay, (1 + iteration) / (10 + iteration))  # 2/11, 3/12, 4/13, 5/14
        expected = kept * expected + (1 - kept) * weight
    with average.in_place():
        assert first_weight(model) == pytest.approx(expected)


def test_the_training_has_its_weights_back_and_leaves_the_average():
    model = nn.Linear(2, 1)
    fill(model, 0.0)
    average = WeightAverage(model, 0.5)
    fill(model, 11.0)
    step(average, 1)  # keeps 2/11 of 0
    with average.in_place() as entries:
        assert first_weight(model) == pytest.approx(9.0)
        assert entries["unaveraged"]["weight"].tolist() == [[11.0, 11.0]]
    assert first_weight(model) == 11.0
    with pytest.raises(KeyError), average.in_place():
        raise KeyError
    assert first_weight(model) == 11.0
    average.close(None)
    assert first_weight(model) == pytest.approx(9.0)


def test_statistics_of_norms_are_averaged_and_what_is_constant_or_counts_is_not():
    norm, frozen = nn.BatchNorm1d(1), nn.Linear(1, 1).requires_grad_(False)
    model = nn.Sequential(norm, frozen)
    fill(model, 0.0)
    average = WeightAverage(model, 0.5)
    fill(model, 11.0)
    step(average, 1)
    with average.in_place() as entries:
        assert norm.running_var.item() == norm.running_mean.item() == pytest.approx(9.0)
        assert norm.weight.item() == pytest.approx(9.0)
        assert norm.num_batches_tracked.item() == 11
        assert frozen.weight.item() == 11.0
    assert sorted(entries["unaveraged"]) == [
        *("0.bias", "0.running_mean", "0.running_var", "0.weight")
    ]


def test_names_are_those_of_the_model_itself():
    average = WeightAverage(nn.DataParallel(nn.Linear(1, 1)), 0.5)
    with average.in_place() as entries:
        assert sorted(entries["unaveraged"]) == ["bias", "weight"]


def test_a_model_in_another_layout_is_averaged():
    model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    before = model.weight.detach().clone()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight.add_(11.0)
    step(average, 1)
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), before + 9.0)
        assert model.weight.is_contiguous(memory_format=torch.channels_last)


class Drift(Hook):
    """A training that adds 11 to each weight, as a hook before the average."""

    def __init__(self, *hooks):
        self.hooks = hooks

    def after_step(self, trainer, record):
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.add_(11.0)
        for hook in self.hooks:
            hook.after_step(trainer, record)


def test_what_is_evaluated_and_saved_is_the_average():
    model, seen = nn.Linear(1, 1), []

    class Saver(RecordingSaver):
        def save(self, name, **extra):
            super().save(name, **extra)
            seen.append(first_weight(model))

    fill(model, 0.0)
    average, saver = WeightAverage(model, 0.5), Saver()
    writer = CheckpointWriter(
        saver, entries={"unaveraged": "of an earlier run"}, result=average.in_place
    )
    evaluation = EvaluationHook(
        period=1, evaluate=lambda: seen.append(first_weight(model)), result=writer.result
    )
    run_hook(Drift(average, CheckpointHook(writer=writer, period=0), evaluation), 1, model=model)
    assert seen == pytest.approx([9.0, 9.0])
    ((_, entries),) = saver.saved
    assert entries["unaveraged"]["weight"].item() == 11.0


def test_a_model_whose_average_is_not_finite_is_not_saved():
    model, saver = nn.Linear(1, 1), RecordingSaver()
    average = WeightAverage(model, 0.5)
    writer = CheckpointWriter(saver, result=average.in_place)
    fill(model, float("inf"))
    hook = Drift(average, CheckpointHook(writer=writer, period=0))
    with pytest.raises(FloatingPointError):
        run_hook(hook, 1, model=model)
    assert saver.saved == []


@pytest.mark.parametrize("decay", [1.0, -0.1, 2])
def test_a_decay_that_makes_no_sense(tmp_path, decay):
    cfg = training_config(tmp_path, EMA=decay)
    with pytest.raises(ConfigError, match=r"SOLVER\.EMA.*0\.998"):
        make_weight_average(cfg, TinyDetector(), {"iteration": 0})


@pytest.mark.parametrize("own", [{"other": torch.zeros(1)}, {"head.bias": torch.zeros(3)}])
def test_weights_of_another_model_are_refused(tmp_path, own):
    cfg = training_config(tmp_path, EMA=0.5)
    with pytest.raises(CheckpointError, match=next(iter(own))):
        make_weight_average(cfg, TinyDetector(), {"iteration": 5, "unaveraged": own})


def _train_in_a_process(rank, folder):
    """The result of a training of two processes, in this one."""
    cfg = training_config(folder, MAX_ITER=4, EMA=0.6)
    cfg.MODEL.CHANNELS_LAST = False
    seed_everything(3)
    model = TinyDetector()
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(cfg, model, optimizer, scheduler, str(folder))
    wrapped = distribute(model, Run(torch.device("cpu"), ProcessPlace(rank, rank, 2)))
    loader = tiny_loader(4 * rank, 4 * rank + 4)
    do_train(
        *(cfg, wrapped, loader, None, optimizer, scheduler, checkpointer, "cpu", 0, 0),
        {"iteration": 0},
    )
    return dict(model.state_dict())


@pytest.mark.slow
def test_processes_have_one_average_and_the_first_saves_it(tmp_path):
    folder = tmp_path / "run"
    first, second = in_two_processes(_train_in_a_process, tmp_path / "work", folder)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    content = torch.load(folder / "model_final.pth", weights_only=True)
    torch.testing.assert_close(dict(content["model"]), first, rtol=0, atol=0)
    assert sorted(content["unaveraged"]) == sorted(first)
    assert not torch.equal(content["unaveraged"]["head.weight"], first["head.weight"])
