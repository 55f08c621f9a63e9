"""What happens around the steps of a training: what a hook is, and the one that saves checkpoints.

``progress`` has the hook that logs how it goes, ``validation`` the one that evaluates.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import nn

from maskrcnn_benchmark.engine.random_state import capture_random_state
from maskrcnn_benchmark.utils.comm import all_gather
from maskrcnn_benchmark.weights.checkpoint import Checkpointer

logger = logging.getLogger(__name__)

FINAL_CHECKPOINT = "model_final"
SCALER_ENTRY = "grad_scaler"
"""Of a checkpoint: the state of ``Training.scaler``, where that is in use."""
SCORE_ENTRY = "validation_score"
"""Of the best checkpoint: the number by which it is."""
UNAVERAGED_ENTRY = "unaveraged"
"""Of a checkpoint whose model is an average: the weights that the training goes on with."""
_OWN_ENTRIES = (SCALER_ENTRY, SCORE_ENTRY, UNAVERAGED_ENTRY)

ResultBlock: TypeAlias = Callable[[], AbstractContextManager[Mapping[str, Any]]]
"""Gives a block in which the model is what the training leads to, and the entries that a checkpoint
needs besides to go on."""


def as_trained() -> AbstractContextManager[Mapping[str, Any]]:
    """A block in which the model is what it is in training."""
    return nullcontext({})


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

    ``start_iter`` iterations were done before it began, ``iteration`` are now; it ends after
    iteration ``max_iter``, or earlier by ``stop``.
    ``scaler`` is in use in float16 only.
    """

    model: nn.Module
    device: torch.device
    start_iter: int
    iteration: int
    max_iter: int
    scaler: torch.amp.GradScaler

    def stop(self) -> None:
        """Let the training end after this iteration; every process must ask for it in the same."""


class Hook:
    """Something that a ``Trainer`` calls before, between and after its steps, on every process."""

    def before_train(self, trainer: Training) -> None:
        """Called once, before the first step."""

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Called after each step, optimizer and schedule included."""

    def after_stop(self, trainer: Training) -> None:
        """Called once if the training was stopped before its last iteration, by ``stop``."""

    def close(self, trainer: Training) -> None:
        """Called once at the end, however training ended."""


class CheckpointWriter:
    """Saves a training with all that it takes to go on with it.

    A model with a non-finite parameter is not saved, so every checkpoint on the disk is usable.

    Args:
        checkpointer: saves, on the main process.
        entries: go into every checkpoint beside ``iteration``, ``rng_state`` and ``grad_scaler``.
        result: of the training, which is saved as the model.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        entries: Mapping[str, Any] | None = None,
        result: ResultBlock = as_trained,
    ) -> None:
        self.result = result
        self._checkpointer = checkpointer
        # Those of the run that wrote them; this one may compute in another type.
        self._entries = {k: v for k, v in (entries or {}).items() if k not in _OWN_ENTRIES}

    def save(
        self,
        name: str,
        trainer: Training,
        iteration: int,
        *,
        is_latest: bool = True,
        score_threshold: float | None = None,
        further: Mapping[str, Any] | None = None,
    ) -> None:
        """Save as ``name``; every process must call this.

        Args:
            name: as of ``Checkpointer.save``, and so are ``is_latest`` and ``score_threshold``.
            trainer: that it is of.
            iteration: that is done.
            is_latest: whether a run goes on from here.
            score_threshold: of the model, if it was evaluated.
            further: entries of this checkpoint alone.

        Raises:
            FloatingPointError: a parameter is not finite.
        """
        entries = {
            **self._entries,
            **(further or {}),
            "iteration": iteration,
            "rng_state": all_gather(capture_random_state()),
        }
        if trainer.scaler.is_enabled():
            entries[SCALER_ENTRY] = trainer.scaler.state_dict()
        with self.result() as needed:
            # An average stays not finite once a weight was so.
            require_finite_parameters(trainer.model, iteration)
            self._checkpointer.save(
                name, is_latest=is_latest, score_threshold=score_threshold, **entries, **needed
            )

    def drop_older(self, iteration: int, keep: int) -> None:
        """As ``Checkpointer.drop_older``."""
        self._checkpointer.drop_older(iteration, keep)


class CheckpointHook(Hook):
    """Saves ``model_0000123`` every ``period`` iterations, and ``model_final`` after the last.

    If both are due, ``model_final`` comes first and stays the latest: a training that is killed
    between them is complete.

    Args:
        writer: saves them.
        period: iterations between two checkpoints; 0 saves only the last.
        keep: how many of those are kept, the newest; 0: all.
    """

    def __init__(self, *, writer: CheckpointWriter, period: int, keep: int = 0) -> None:
        self._writer = writer
        self._period = period
        self._keep = keep

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Save when it is time.

        Raises:
            FloatingPointError: a parameter is not finite.
        """
        is_last = record.iteration == trainer.max_iter
        if is_last:
            self._writer.save(FINAL_CHECKPOINT, trainer, record.iteration)
        if self._period > 0 and record.iteration % self._period == 0:
            name = f"model_{record.iteration:07d}"
            self._writer.save(name, trainer, record.iteration, is_latest=not is_last)
            if self._keep > 0:
                self._writer.drop_older(record.iteration, self._keep)

    def after_stop(self, trainer: Training) -> None:
        """Save as the last what a training is that ends before its last iteration."""
        self._writer.save(FINAL_CHECKPOINT, trainer, trainer.iteration)


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
