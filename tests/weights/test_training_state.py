import copy
import logging
from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.training_state import restore_optimizer, unloadable_entries

Point = namedtuple("Point", "x y")


def _sgd(sizes: tuple[int, ...] = (3, 2), **settings: float) -> Optimizer:
    """An optimizer of one group a parameter, as ours are."""
    groups = [{"params": [nn.Parameter(torch.ones(size))], "lr": 0.1 * size} for size in sizes]
    return SGD(groups, **{"lr": 1.0, "momentum": 0.9, **settings})


def _step(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = parameter.detach() * 2
    optimizer.step()


def _parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize(
    "value",
    [
        {"iteration": 3, "names": ["a", ("b", None)], "time": 0.5, "done": True},
        OrderedDict(milestones=Counter({10: 1})),
        {"rng_state": torch.get_rng_state(), "size": torch.Size([1]), "raw": b"x", "set": {1}},
        nn.Parameter(torch.ones(1)),
    ],
)
def test_what_can_be_loaded_again(value: object):
    assert list(unloadable_entries(value, "extra")) == []


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"best": {"ap": np.float64(0.5)}}, "extra.best.ap (numpy.float64)"),
        ({"rng": [np.random.default_rng(0)]}, "extra.rng[0] (numpy.random._generator.Generator)"),
        ({"points": (Point(1, 2),)}, "extra.points[0] (tests.weights.test_training_state.Point)"),
        ({np.int64(3): 1}, "extra key np.int64(3) (numpy.int64)"),
        (len, "extra (builtins.builtin_function_or_method)"),
    ],
)
def test_what_could_only_be_saved_is_named(value: object, where: str):
    assert list(unloadable_entries(value, "extra")) == [where]


@pytest.mark.parametrize("make", [_sgd, lambda: AdamW([nn.Parameter(torch.ones(3))], lr=0.1)])
def test_a_restored_optimizer_goes_on_as_if_never_stopped(make):
    uninterrupted, resumed = make(), make()
    _step(uninterrupted)
    saved = copy.deepcopy(uninterrupted.state_dict())
    for mine, theirs in zip(_parameters(resumed), _parameters(uninterrupted), strict=True):
        mine.data.copy_(theirs.data)
    restore_optimizer(resumed, saved)
    for optimizer in (uninterrupted, resumed):
        _step(optimizer)
    for mine, theirs in zip(_parameters(resumed), _parameters(uninterrupted), strict=True):
        assert torch.equal(mine, theirs)


def test_learning_rates_come_from_the_file_and_settings_from_the_run(caplog):
    saved = _sgd(weight_decay=0.1).state_dict()
    for group in saved["param_groups"]:
        group["lr"] = 0.007
    optimizer = _sgd(weight_decay=0.2)
    with caplog.at_level(logging.WARNING):
        restore_optimizer(optimizer, saved)
    assert [group["lr"] for group in optimizer.param_groups] == [0.007, 0.007]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.2]
    assert caplog.messages == [
        "Optimizer setting weight_decay: the checkpoint had 0.1, going on with 0.2"
    ]


def test_a_state_of_torch_1_0_is_understood():
    """Groups without today's settings, and parameters numbered by their addresses."""
    momentum = [torch.full((3,), 0.5), torch.full((2,), 0.25)]
    addresses = (139856, 139999)
    old = {
        "state": {n: {"momentum_buffer": m} for n, m in zip(addresses, momentum, strict=True)},
        "param_groups": [
            {
                "params": [number],
                "lr": 0.01,
                "momentum": 0.9,
                "dampening": 0,
                "weight_decay": 0,
                "nesterov": False,
                "initial_lr": 0.02,
            }
            for number in addresses
        ],
    }
    optimizer = _sgd()
    restore_optimizer(optimizer, old)
    for parameter, expected in zip(_parameters(optimizer), momentum, strict=True):
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], expected)
    assert optimizer.param_groups[0]["initial_lr"] == 0.02
    _step(optimizer)


def test_a_state_of_more_parameters_is_refused():
    with pytest.raises(CheckpointError, match=r"\b3 .*\b2\b"):
        restore_optimizer(_sgd(), _sgd((3, 2, 1)).state_dict())
    with pytest.raises(CheckpointError, match=r"\b0 .*\b2\b"):
        restore_optimizer(_sgd(), {})


def test_a_state_of_other_parameters_is_refused():
    """torch takes it, and then fails in the first step or broadcasts."""
    other = _sgd((2, 3))
    _step(other)
    with pytest.raises(CheckpointError, match=r"momentum_buffer.*\(2,\).*\(3,\)"):
        restore_optimizer(_sgd((3, 2)), other.state_dict())


def test_a_state_of_another_kind_of_optimizer_is_refused():
    sgd = _sgd((3,))
    adamw = AdamW([nn.Parameter(torch.ones(3))], lr=0.1)
    for mine, theirs in ((sgd, adamw), (adamw, sgd)):
        with pytest.raises(CheckpointError, match=r"SOLVER\.OPTIMIZER"):
            restore_optimizer(mine, theirs.state_dict())
