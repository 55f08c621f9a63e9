import logging
import math

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.hooks import Hook
from maskrcnn_benchmark.engine.trainer import Trainer, random_state_of_this_process
from tests.engine.standins import TinyDetector, tiny_loader

CPU = torch.device("cpu")


class Scale(nn.Module):
    """Loss w * x + b, with x the mean of the images, and a second loss of 2 * w."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))
        self.bias = nn.Parameter(torch.tensor(1.0))

    def forward(self, images, targets):
        return {
            "loss_cls": self.weight * images.tensors.mean() + self.bias,
            "loss_reg": 2 * self.weight,
        }


def make_trainer(model, max_iter=3, lr=0.5, gamma=0.1, loader=None, dtype=torch.float32, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return Trainer(
        runner=ModelRunner(model, device=CPU, dtype=dtype),
        data_loader=tiny_loader(0, max_iter) if loader is None else loader,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma),
        max_iter=max_iter,
        **kwargs,
    )


class Recorder(Hook):
    def __init__(self, log=None, name="hook"):
        self.records, self.log, self.name = [], [] if log is None else log, name

    def before_train(self, trainer):
        self.log.append(f"{self.name} before")

    def after_step(self, trainer, record):
        self.records.append(record)
        self.log.append(f"{self.name} {record.iteration}")

    def close(self, trainer):
        self.log.append(f"{self.name} close")


def test_two_steps_by_hand():
    """w' = w - lr (x + 2), b' = b - lr; the rate falls to a tenth after each step."""
    recorder = Recorder()
    trainer = make_trainer(Scale(), max_iter=2, hooks=[recorder])
    trainer.train()
    x1, x2 = (batch[0].tensors.mean().item() for batch in tiny_loader(0, 2))
    weight = 3.0 - 0.5 * (x1 + 2)
    first, second = recorder.records
    assert first.losses == pytest.approx(
        {"loss": 3 * x1 + 1 + 6, "loss_cls": 3 * x1 + 1, "loss_reg": 6.0}
    )
    assert list(first.losses) == ["loss", "loss_cls", "loss_reg"]
    assert second.losses["loss_cls"] == pytest.approx(weight * x2 + 0.5)
    assert (first.iteration, second.iteration) == (1, 2)
    assert (first.lr, second.lr) == pytest.approx((0.5, 0.05))
    assert first.grad_norm is None
    assert 0 <= first.data_time <= first.time
    assert trainer.model.weight.item() == pytest.approx(weight - 0.05 * (x2 + 2))
    assert trainer.model.bias.item() == pytest.approx(1.0 - 0.5 - 0.05)


def test_clipping_bounds_the_step_and_reports_the_norm_before_it():
    recorder = Recorder()
    trainer = make_trainer(Scale(), max_iter=1, lr=1.0, hooks=[recorder], clip_grad_norm=0.25)
    trainer.train()
    x = next(iter(tiny_loader(0, 1)))[0].tensors.mean().item()
    norm = math.hypot(x + 2, 1)
    assert recorder.records[0].grad_norm == pytest.approx(norm)
    assert trainer.model.weight.item() == pytest.approx(3 - 0.25 * (x + 2) / norm, rel=1e-5)
    assert trainer.model.bias.item() == pytest.approx(1 - 0.25 / norm, rel=1e-5)


def test_in_float16_gradients_and_their_norm_are_those_of_the_loss_itself():
    """65536, by which the loss is multiplied and the gradients are divided, rounds nothing."""
    records = []
    for dtype in (torch.float16, torch.float32):
        recorder = Recorder()
        trainer = make_trainer(Scale(), dtype=dtype, hooks=[recorder], clip_grad_norm=0.25)
        trainer.train()
        records.append([(record.losses, record.grad_norm) for record in recorder.records])
        assert trainer.scaler.is_enabled() == (dtype == torch.float16)
    assert records[0] == records[1]


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")  # no step before it
def test_a_step_beyond_the_range_of_numbers_is_left_out_and_counted(caplog):
    """The gradient of the weight, x + 2, is representable 2**126 times, not 2**127 times."""
    state = torch.amp.GradScaler("cpu").state_dict() | {"scale": 2.0**127}
    settings = {"dtype": torch.float16, "scaler_state": state, "clip_grad_norm": 100.0}
    trainer = make_trainer(Scale(), **settings)
    first, second = tiny_loader(0, 2)
    with caplog.at_level(logging.INFO):
        losses, norm = trainer.run_step(first)
    assert losses["loss_reg"] == 6
    assert norm is None
    assert (trainer.model.weight.item(), trainer.model.bias.item()) == (3, 1)
    assert "iteration 1: gradients out of the range" in caplog.text
    _, norm = trainer.run_step(second)
    assert norm == pytest.approx(math.hypot(second[0].tensors.mean().item() + 2, 1))
    assert trainer.model.bias.item() == pytest.approx(1 - 0.05)
    assert trainer.skipped_steps == 1


def test_the_scaler_goes_on_from_its_state():
    state = torch.amp.GradScaler("cpu").state_dict() | {"scale": 8.0}
    trainer = make_trainer(Scale(), dtype=torch.float16, scaler_state=state)
    assert trainer.scaler.get_scale() == 8
    # A training in another type leaves it alone.
    assert make_trainer(Scale(), scaler_state=state).scaler.state_dict() == {}


def test_hooks_are_called_in_order_and_closed_in_reverse():
    log = []
    make_trainer(Scale(), max_iter=1, hooks=[Recorder(log, "a"), Recorder(log, "b")]).train()
    assert log == ["a before", "b before", "a 1", "b 1", "b close", "a close"]


class Breaking(TinyDetector):
    """Its loss, or only its gradient, stops being finite in one of the steps."""

    def __init__(self, at, how):
        super().__init__()
        self.step, self.at, self.how = 0, at, how

    def forward(self, images, targets=None):
        losses = super().forward(images, targets)
        self.step += 1
        if self.step == self.at:
            zero = 0.0 * losses["loss_reg"]
            # The square root of 0 is finite, its gradient is not.
            losses["loss_reg"] = zero.sqrt() if self.how == "gradient" else zero / zero
        return losses


def test_a_non_finite_loss_stops_before_the_parameters_change():
    recorder = Recorder()
    trainer = make_trainer(Breaking(3, "loss"), max_iter=5, hooks=[recorder])
    with pytest.raises(FloatingPointError) as caught:
        trainer.train()
    text = str(caught.value)
    assert "a loss is not finite at iteration 3; process 0: images [6, 7]: loss_cls " in text
    assert "loss_reg nan" in text
    for advice in ("SOLVER.BASE_LR", "SOLVER.WARMUP_ITERS", "SOLVER.CLIP_GRAD_NORM", "annotations"):
        assert advice in text
    assert [record.iteration for record in recorder.records] == [1, 2]
    assert recorder.log[-1] == "hook close"
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_a_non_finite_gradient_stops_a_clipped_training():
    trainer = make_trainer(Breaking(2, "gradient"), max_iter=5, clip_grad_norm=1.0)
    with pytest.raises(FloatingPointError, match=r"norm is nan .*\b2\b.*\[4, 5\]"):
        trainer.train()
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_a_loader_that_ends_early_is_an_error():
    trainer = make_trainer(Scale(), max_iter=3, loader=tiny_loader(0, 2))
    with pytest.raises(RuntimeError, match=r"\b2\b.*\b3\b"):
        trainer.train()


def test_a_loader_that_has_more_is_left_early():
    recorder = Recorder()
    make_trainer(Scale(), max_iter=2, loader=tiny_loader(0, 9), hooks=[recorder]).train()
    assert len(recorder.records) == 2


def test_training_mode_is_switched_on():
    model = TinyDetector().eval()
    make_trainer(model, max_iter=1).train()
    assert model.training


def test_the_random_state_of_this_process(caplog):
    assert random_state_of_this_process(None) is None
    assert random_state_of_this_process([{"torch": 1}]) == {"torch": 1}
    with caplog.at_level(logging.WARNING):
        assert random_state_of_this_process([{}, {}]) is None
    assert "saved by 2 processes, now there are 1" in caplog.text
