"""Optimizer and learning-rate schedule from the ``SOLVER`` settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.solver.lr_scheduler import (
    WARMUP_METHODS,
    WarmupCosineLR,
    WarmupLR,
    WarmupMultiStepLR,
)

if TYPE_CHECKING:
    from maskrcnn_benchmark.config import CfgNode

_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ParameterSettings:
    """Base learning rate and weight decay of one parameter."""

    lr: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class SolverSettings:
    """How learning rate and weight decay depend on a parameter's name.

    ``bias_lr_factor`` multiplies ``base_lr`` for biases; ``weight_decay_bias`` is theirs;
    ``weight_decay_norm`` that of all parameters of norm layers, unless negative.
    """

    base_lr: float
    weight_decay: float
    bias_lr_factor: float
    weight_decay_bias: float
    weight_decay_norm: float = -1.0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> SolverSettings:
        """The settings of ``cfg.SOLVER``."""
        solver = cfg.SOLVER
        return cls(
            base_lr=solver.BASE_LR,
            weight_decay=solver.WEIGHT_DECAY,
            bias_lr_factor=solver.BIAS_LR_FACTOR,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        )


def parameter_settings(
    name: str, settings: SolverSettings, *, of_norm: bool = False
) -> ParameterSettings:
    """Learning rate and weight decay of the parameter ``name``.

    A parameter with "bias" anywhere in its name is a bias; so GroupNorm's weights decay and its
    biases do not, as in maskrcnn-benchmark, unless ``weight_decay_norm`` holds for both.
    """
    # UPSTREAM(bias-by-name): the name decides, not what the parameter does.
    is_bias = "bias" in name
    lr = settings.base_lr * settings.bias_lr_factor if is_bias else settings.base_lr
    decay = settings.weight_decay_bias if is_bias else settings.weight_decay
    if of_norm and settings.weight_decay_norm >= 0:
        decay = settings.weight_decay_norm
    return ParameterSettings(lr, decay)


def parameter_groups(model: nn.Module, settings: SolverSettings) -> list[dict[str, Any]]:
    """One optimizer group a trainable parameter, in the model's order.

    One group each, because optimizer states of released checkpoints are laid out so.
    """
    of_norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NORMS)
        for parameter in module.parameters(recurse=False)
    }
    groups: list[dict[str, Any]] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = parameter_settings(name, settings, of_norm=id(parameter) in of_norms)
            groups.append({"params": [parameter], "lr": own.lr, "weight_decay": own.weight_decay})
    return groups


def make_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over the trainable parameters of ``model``.

    Reads ``SOLVER.OPTIMIZER``, ``BASE_LR``, ``BIAS_LR_FACTOR``, ``WEIGHT_DECAY``,
    ``WEIGHT_DECAY_BIAS``, ``WEIGHT_DECAY_NORM`` and, for SGD, ``MOMENTUM``.

    Raises:
        ConfigError: another optimizer, or nothing to train.
    """
    groups = parameter_groups(model, SolverSettings.from_config(cfg))
    if not groups:
        raise ConfigError("make_optimizer: expected trainable parameters, but all are frozen")
    name = cfg.SOLVER.OPTIMIZER
    if name == "SGD":
        return torch.optim.SGD(groups, lr=cfg.SOLVER.BASE_LR, momentum=cfg.SOLVER.MOMENTUM)
    if name == "AdamW":
        # One kernel a parameter instead of a dozen operations; a group has but one.
        return torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR, fused=True)
    raise ConfigError(f"SOLVER.OPTIMIZER: expected 'SGD' or 'AdamW', got {name!r}")


def make_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> WarmupLR:
    """The schedule ``SOLVER.LR_SCHEDULE`` for ``optimizer``; step it after each optimizer step.

    "multistep" reads ``SOLVER.STEPS`` and ``GAMMA``, "cosine" reads ``MAX_ITER``; both read
    ``WARMUP_FACTOR``, ``WARMUP_ITERS`` and ``WARMUP_METHOD``.

    Raises:
        ConfigError: an unknown schedule or warm-up, no iteration, or steps that do not ascend or
            are no iterations.
    """
    solver = cfg.SOLVER
    if solver.MAX_ITER < 1:
        raise ConfigError(
            f"SOLVER.MAX_ITER: expected at least 1 iteration, got {solver.MAX_ITER}; a model is "
            "measured without a training by `centermask test` or tools/test_net.py"
        )
    if solver.WARMUP_METHOD not in WARMUP_METHODS:
        raise ConfigError(
            f"SOLVER.WARMUP_METHOD: expected one of {WARMUP_METHODS}, got {solver.WARMUP_METHOD!r}"
        )
    warmup = {
        "warmup_factor": solver.WARMUP_FACTOR,
        "warmup_iters": solver.WARMUP_ITERS,
        "warmup_method": solver.WARMUP_METHOD,
    }
    if solver.LR_SCHEDULE == "multistep":
        if list(solver.STEPS) != sorted(solver.STEPS):
            raise ConfigError(f"SOLVER.STEPS: expected ascending iterations, got {solver.STEPS}")
        _check_steps(solver.STEPS, solver.MAX_ITER)
        return WarmupMultiStepLR(optimizer, solver.STEPS, solver.GAMMA, **warmup)
    if solver.LR_SCHEDULE == "cosine":
        return WarmupCosineLR(optimizer, solver.MAX_ITER, **warmup)
    raise ConfigError(
        f"SOLVER.LR_SCHEDULE: expected 'multistep' or 'cosine', got {solver.LR_SCHEDULE!r}"
    )


def _check_steps(steps: Sequence[float], max_iter: int) -> None:
    """Raise if steps are parts of the training; log those that it never comes to."""
    if any(0 < step < 1 for step in steps):
        meant = tuple(round(step * max_iter) for step in steps)
        raise ConfigError(
            f"SOLVER.STEPS: expected iterations, got parts of the training {tuple(steps)}; of "
            f"SOLVER.MAX_ITER {max_iter} these are {meant}"
        )
    late = tuple(step for step in steps if step >= max_iter)
    if late:
        logger.warning(
            "SOLVER.STEPS: the training ends at iteration %d, so the learning rate never falls at "
            "%s",
            max_iter,
            ", ".join(map(str, late)),
        )
