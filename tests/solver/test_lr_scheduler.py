import logging
import math

import pytest
import torch

from maskrcnn_benchmark.solver import WarmupCosineLR, WarmupMultiStepLR
from tests.golden_data import golden_json


def make_sgd(*learning_rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in learning_rates]
    return torch.optim.SGD(groups)


def trace(optimizer, scheduler, iterations):
    """Learning rate of every group, at each of the first iterations."""
    rates = []
    for _ in range(iterations):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", [name for name in golden_json("solver") if name.startswith("configs/")]
)
def test_reference_learning_rates_are_reproduced(case):
    reference = golden_json("solver")[case]
    solver = reference["solver"]
    optimizer = make_sgd(solver["BASE_LR"], solver["BASE_LR"] * solver["BIAS_LR_FACTOR"])
    scheduler = WarmupMultiStepLR(
        optimizer,
        solver["STEPS"],
        solver["GAMMA"],
        solver["WARMUP_FACTOR"],
        solver["WARMUP_ITERS"],
        solver["WARMUP_METHOD"],
    )
    rows = zip(reference["iteration"], reference["lr_weight"], reference["lr_bias"], strict=True)
    for iteration, lr_weight, lr_bias in rows:
        scheduler.last_epoch = iteration
        assert scheduler.get_lr() == pytest.approx([lr_weight, lr_bias], rel=1e-12, abs=0)


def test_stepping_follows_the_schedule_of_a_small_training():
    optimizer = make_sgd(1.0)
    scheduler = WarmupMultiStepLR(optimizer, [4, 6], 0.1, 0.5, 2, "linear")
    expected = [0.5, 0.75, 1.0, 1.0, 0.1, 0.1, 0.01]
    assert [row[0] for row in trace(optimizer, scheduler, 7)] == pytest.approx(expected)


def test_constant_warmup_jumps():
    optimizer = make_sgd(3.0)
    scheduler = WarmupMultiStepLR(optimizer, [], warmup_iters=2, warmup_method="constant")
    assert [row[0] for row in trace(optimizer, scheduler, 3)] == pytest.approx([1.0, 1.0, 3.0])


def test_no_warmup_starts_at_the_base_rate():
    optimizer = make_sgd(3.0)
    scheduler = WarmupMultiStepLR(optimizer, [], warmup_iters=0)
    assert trace(optimizer, scheduler, 1) == [[3.0]]


def test_cosine_is_one_half_at_the_middle_and_zero_at_the_end():
    optimizer = make_sgd(1.0)
    scheduler = WarmupCosineLR(optimizer, 4, warmup_iters=0)
    rates = [row[0] for row in trace(optimizer, scheduler, 6)]
    half = math.sqrt(0.5) / 2
    assert rates == pytest.approx([1.0, 0.5 + half, 0.5, 0.5 - half, 0.0, 0.0])


def test_cosine_is_multiplied_by_the_warmup():
    optimizer = make_sgd(1.0)
    scheduler = WarmupCosineLR(optimizer, 4, 0.5, 3, "constant")
    rates = [row[0] for row in trace(optimizer, scheduler, 4)]
    half = math.sqrt(0.5) / 2
    assert rates == pytest.approx([0.5, (0.5 + half) / 2, 0.25, 0.5 - half])


def test_a_resumed_schedule_goes_on_as_if_never_interrupted():
    optimizer = make_sgd(1.0, 2.0)
    whole = trace(optimizer, WarmupMultiStepLR(optimizer, [4, 6], warmup_iters=3), 9)
    optimizer = make_sgd(1.0, 2.0)
    scheduler = WarmupMultiStepLR(optimizer, [4, 6], warmup_iters=3)
    before = trace(optimizer, scheduler, 5)
    saved = scheduler.state_dict()
    optimizer = make_sgd(1.0, 2.0)
    scheduler = WarmupMultiStepLR(optimizer, [4, 6], warmup_iters=3)
    scheduler.load_state_dict(saved)
    assert before + trace(optimizer, scheduler, 4) == whole


def test_a_changed_setting_wins_over_the_checkpoint_and_is_logged(caplog):
    """upstream: resumed-schedule."""
    old = WarmupMultiStepLR(make_sgd(1.0), [4], warmup_iters=0)
    optimizer = make_sgd(1.0)
    scheduler = WarmupMultiStepLR(optimizer, [1], warmup_iters=0)
    with caplog.at_level(logging.WARNING):
        scheduler.load_state_dict({**old.state_dict(), "last_epoch": 2})
    assert "milestones: the checkpoint had [4], going on with [1]" in caplog.text
    assert len(caplog.records) == 1
    assert scheduler.get_last_lr() == pytest.approx([0.1])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_state_of_an_older_pytorch_loads(caplog):
    scheduler = WarmupMultiStepLR(make_sgd(1.0), (2, 4), warmup_iters=0)
    scheduler.load_state_dict(
        {"milestones": (2, 4), "gamma": 0.1, "base_lrs": [1.0], "last_epoch": 3}
    )
    assert scheduler.get_last_lr() == pytest.approx([0.1])
    assert not caplog.records


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: WarmupMultiStepLR(make_sgd(1.0), [4, 2]), r"ascend, got \(4, 2\)"),
        (lambda: WarmupMultiStepLR(make_sgd(1.0), [], warmup_method="cubic"), "'cubic'"),
        (lambda: WarmupCosineLR(make_sgd(1.0), 0), "at least 1, got 0"),
    ],
)
def test_wrong_settings_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()
