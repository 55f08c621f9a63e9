import pytest
import torch
from torch import nn

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.solver import (
    ParameterSettings,
    SolverSettings,
    WarmupCosineLR,
    WarmupMultiStepLR,
    make_lr_scheduler,
    make_optimizer,
    parameter_settings,
)
from tests.golden_data import golden_json

SETTINGS = SolverSettings(base_lr=0.1, weight_decay=0.5, bias_lr_factor=2, weight_decay_bias=0.25)


def solver_config(**values):
    cfg = get_default_config()
    for key, value in values.items():
        cfg.merge_from_list([f"SOLVER.{key}", value])
    return cfg


@pytest.mark.parametrize("name", ["fpn.conv.bias", "bias", "head.bias_scale.weight"])
def test_biases_have_their_own_rate_and_decay(name):
    # UPSTREAM(bias-by-name): the last of them is none.
    assert parameter_settings(name, SETTINGS) == ParameterSettings(lr=0.2, weight_decay=0.25)


@pytest.mark.parametrize("name", ["fpn.conv.weight", "tower.1.weight", "scales.0.scale"])
def test_other_parameters_have_the_base_ones(name):
    assert parameter_settings(name, SETTINGS) == ParameterSettings(lr=0.1, weight_decay=0.5)


def named_parameters_model(names):
    """A model with one scalar parameter of each of the dotted names, in that order."""
    root = nn.Module()
    for name in names:
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        module.register_parameter(leaf, nn.Parameter(torch.zeros(1)))
    return root


@pytest.mark.golden
def test_reference_parameter_groups_are_reproduced():
    reference = golden_json("solver")["param_groups_centermask_R_50_FPN_1x"]
    solver = golden_json("solver")["configs/centermask/centermask_R_50_FPN_1x.yaml"]["solver"]
    keys = ("BASE_LR", "BIAS_LR_FACTOR", "WEIGHT_DECAY", "WEIGHT_DECAY_BIAS", "MOMENTUM")
    cfg = solver_config(**{key: solver[key] for key in keys})
    model = named_parameters_model([name for name, _, _ in reference["groups"]])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.SGD)
    groups = {
        names[id(group["params"][0])]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
    }
    assert groups == {name: (lr, decay) for name, lr, decay in reference["groups"]}
    assert all(len(group["params"]) == 1 for group in optimizer.param_groups)
    assert {group["momentum"] for group in optimizer.param_groups} == {reference["momentum"]}


def test_groups_follow_the_order_of_the_model_and_leave_out_frozen_parameters():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    model[0].weight.requires_grad_(False)
    optimizer = make_optimizer(solver_config(), model)
    expected = [model[0].bias, model[1].weight, model[1].bias]
    assert [group["params"][0] for group in optimizer.param_groups] == expected


def test_adamw_has_the_same_groups():
    model = nn.Linear(1, 1)
    optimizer = make_optimizer(solver_config(OPTIMIZER="AdamW", BASE_LR=0.125), model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.125, 0.0005),
        (0.25, 0.0),
    ]


def test_one_sgd_step_by_hand():
    """SGD with decay: w <- w - lr * (gradient + decay * w), no momentum in the first step."""
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 1.0)
    cfg = solver_config(BASE_LR=0.5, WEIGHT_DECAY=0.1, WEIGHT_DECAY_BIAS=0.0)
    optimizer = make_optimizer(cfg, model)
    model(torch.tensor([3.0])).backward()
    optimizer.step()
    torch.testing.assert_close(model.weight.item(), 2.0 - 0.5 * (3.0 + 0.1 * 2.0))
    torch.testing.assert_close(model.bias.item(), 1.0 - 1.0 * 1.0)


def test_adamw_steps_by_hand():
    """Decay by lr * decay, then lr * mean / (root of mean square + 1e-8), both bias-corrected."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    cfg = solver_config(OPTIMIZER="AdamW", BASE_LR=0.5, WEIGHT_DECAY=0.1)
    optimizer = make_optimizer(cfg, model)
    weight, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((3.0, -1.0), start=1):
        model.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        root = (square / (1 - 0.999**step)) ** 0.5
        weight -= 0.5 * 0.1 * weight + 0.5 * mean / (1 - 0.9**step) / (root + 1e-8)
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


def test_schedules():
    optimizer = make_optimizer(solver_config(), nn.Linear(1, 1))
    multistep = make_lr_scheduler(solver_config(STEPS=(3, 5), GAMMA=0.2), optimizer)
    assert isinstance(multistep, WarmupMultiStepLR)
    assert (multistep.milestones, multistep.gamma) == ([3, 5], 0.2)
    assert (multistep.warmup_iters, multistep.warmup_method) == (500, "linear")
    cosine = make_lr_scheduler(solver_config(LR_SCHEDULE="cosine", MAX_ITER=77), optimizer)
    assert isinstance(cosine, WarmupCosineLR)
    assert cosine.max_iters == 77


@pytest.mark.parametrize(
    ("key", "value"),
    [("LR_SCHEDULE", "poly"), ("WARMUP_METHOD", "cubic"), ("STEPS", (5, 3))],
)
def test_a_wrong_schedule_setting_is_named(key, value):
    optimizer = make_optimizer(solver_config(), nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=rf"SOLVER\.{key}.*{value if key != 'STEPS' else '5, 3'}"):
        make_lr_scheduler(solver_config(**{key: value}), optimizer)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ConfigError, match=r"SOLVER\.OPTIMIZER.*'Lion'"):
        make_optimizer(solver_config(OPTIMIZER="Lion"), nn.Linear(1, 1))


def test_a_frozen_model_cannot_be_trained():
    with pytest.raises(ConfigError, match="frozen"):
        make_optimizer(solver_config(), nn.Linear(1, 1).requires_grad_(False))


def test_norms_may_have_a_decay_of_their_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    settings = {"WEIGHT_DECAY": 0.5, "WEIGHT_DECAY_BIAS": 0.25}
    decays = {
        norm: [group["weight_decay"] for group in make_optimizer(cfg, model).param_groups]
        for norm in (-1.0, 0.0)
        for cfg in [solver_config(**settings, WEIGHT_DECAY_NORM=norm)]
    }
    assert decays == {-1.0: [0.5, 0.25, 0.5, 0.25], 0.0: [0.5, 0.25, 0.0, 0.0]}


@pytest.mark.parametrize("schedule", ["multistep", "cosine"])
def test_a_training_has_at_least_one_iteration(schedule):
    cfg = get_default_config()
    cfg.SOLVER.LR_SCHEDULE, cfg.SOLVER.MAX_ITER = schedule, 0
    with pytest.raises(ConfigError, match=r"SOLVER\.MAX_ITER.*at least 1.*got 0"):
        make_lr_scheduler(cfg, torch.optim.SGD([torch.zeros(1)], lr=1.0))


def test_steps_are_iterations(caplog):
    cfg = get_default_config()
    cfg.SOLVER.MAX_ITER = 1000
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    cfg.SOLVER.STEPS = (0.6, 0.8)
    with pytest.raises(ConfigError, match=r"SOLVER\.STEPS.*\(600, 800\)"):
        make_lr_scheduler(cfg, optimizer)
    cfg.SOLVER.STEPS = (600, 1000, 1200)
    make_lr_scheduler(cfg, optimizer)
    assert "never falls at 1000, 1200" in caplog.text
