"""What happens around the steps of a training: checkpoints and evaluations.

``progress`` has the hook that logs how it goes.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from maskrcnn_benchmark.engine.random_state import capture_random_state, preserved_random_state
from maskrcnn_benchmark.utils.comm import all_gather, synchronize
from maskrcnn_benchmark.weights.checkpoint import Checkpointer

logger = logging.getLogger(__name__)

FINAL_CHECKPOINT = "model_final"
SCALER_ENTRY = "grad_scaler"
"""Of a checkpoint: the state of ``Training.scaler``, where that is in use."""


class StepRecord(NamedTuple):
    """What one training step did.

    ``iteration`` counts from 1. ``losses`` are means over the processes; "loss", their sum, comes
    first. ``grad_norm`` is None unless gradients are clipped. Times are seconds of this process:
    ``data_time`` of waiting for the batch, ``time`` of the whole step with it.
    """

    iteration: int
    losses: dict[str, float]
    lr: float
    grad_norm: float | None
    data_time: float
    time: float


class Training(Protocol):
    """What hooks may look at of the ``Trainer`` that calls them.

    ``start_iter`` iterations were done before it began; it ends after iteration ``max_iter``.
    ``scaler`` is in use in float16 only.
    """

    model: nn.Module
    device: torch.device
    start_iter: int
    max_iter: int
    scaler: torch.amp.GradScaler


class Hook:
    """Something that a ``Trainer`` calls before, between and after its steps, on every process."""

    def before_train(self, trainer: Training) -> None:
        """Called once, before the first step."""

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Called after each step, optimizer and schedule included."""

    def close(self, trainer: Training) -> None:
        """Called once at the end, however training ended."""


class CheckpointHook(Hook):
    """Saves ``model_0000123`` every ``period`` iterations, and ``model_final`` after the last.

    If both are due, ``model_final`` comes first and stays the latest: a training that is killed
    between them is complete.

    A model with a non-finite parameter is not saved, so every checkpoint on the disk is usable.

    Args:
        checkpointer: saves, on the main process.
        period: iterations between two checkpoints; 0 saves only the last.
        entries: go into every checkpoint beside ``iteration``, ``rng_state`` and ``grad_scaler``.
    """

    def __init__(
        self, *, checkpointer: Checkpointer, period: int, entries: Mapping[str, Any] | None = None
    ) -> None:
        self._checkpointer = checkpointer
        self._period = period
        self._entries = dict(entries or {})
        # Of the run that wrote it; this one may compute in another type.
        self._entries.pop(SCALER_ENTRY, None)

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Save when it is time.

        Raises:
            FloatingPointError: a parameter is not finite.
        """
        is_last = record.iteration == trainer.max_iter
        if is_last:
            self._save(FINAL_CHECKPOINT, trainer, record.iteration)
        if self._period > 0 and record.iteration % self._period == 0:
            name = f"model_{record.iteration:07d}"
            self._save(name, trainer, record.iteration, is_latest=not is_last)

    def _save(
        self, name: str, trainer: Training, iteration: int, *, is_latest: bool = True
    ) -> None:
        require_finite_parameters(trainer.model, iteration)
        entries = {
            **self._entries,
            "iteration": iteration,
            "rng_state": all_gather(capture_random_state()),
        }
        if trainer.scaler.is_enabled():
            entries[SCALER_ENTRY] = trainer.scaler.state_dict()
        self._checkpointer.save(name, is_latest=is_latest, **entries)


def require_finite_parameters(model: nn.Module, iteration: int) -> None:
    """Pass if all parameters of ``model`` are finite.

    Raises:
        FloatingPointError: some are not; the message names the first of them.
    """
    names = [name for name, _ in model.named_parameters()]
    finite = [torch.isfinite(parameter.detach()).all() for parameter in model.parameters()]
    if not finite or bool(torch.stack(finite).all()):
        return
    bad = [name for name, is_finite in zip(names, finite, strict=True) if not is_finite]
    raise FloatingPointError(
        f"after iteration {iteration}, {len(bad)} of {len(names)} parameters are not finite "
        f"(first: {bad[0]}); no checkpoint was written. Set SOLVER.CLIP_GRAD_NORM (e.g. 10) to "
        "stop at the step that breaks them, or lower SOLVER.BASE_LR"
    )


class EvaluationHook(Hook):
    """Evaluates every ``period`` iterations without a trace in the training.

    Training and evaluation mode, and the random generators, are afterwards what they were before.

    Args:
        period: iterations between two evaluations, >= 1.
        evaluate: does one evaluation; every process calls it.
    """

    def __init__(self, *, period: int, evaluate: Callable[[], object]) -> None:
        self._period = period
        self._evaluate = evaluate

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Evaluate when it is time."""
        if record.iteration % self._period:
            return
        logger.info("evaluating at iteration %d", record.iteration)
        was_training = trainer.model.training
        with preserved_random_state():
            self._evaluate()
        trainer.model.train(was_training)
        synchronize()
