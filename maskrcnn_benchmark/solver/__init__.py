"""Optimizers and learning-rate schedules, built from the ``SOLVER`` settings."""

from maskrcnn_benchmark.solver.build import (
    ParameterSettings,
    SolverSettings,
    make_lr_scheduler,
    make_optimizer,
    parameter_settings,
)
from maskrcnn_benchmark.solver.lr_scheduler import WarmupCosineLR, WarmupLR, WarmupMultiStepLR

__all__ = [
    "ParameterSettings",
    "SolverSettings",
    "WarmupCosineLR",
    "WarmupLR",
    "WarmupMultiStepLR",
    "make_lr_scheduler",
    "make_optimizer",
    "parameter_settings",
]
