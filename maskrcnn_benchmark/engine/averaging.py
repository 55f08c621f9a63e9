"""Averages of weights over a training, which are what it leads to."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.hooks import UNAVERAGED_ENTRY, Hook, StepRecord, Training
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.model_serialization import plain_names, undistributed

logger = logging.getLogger(__name__)

# Early averages forget sooner, or they would remember the start for long: after n steps the decay
# is at most (1 + n) / (10 + n). Source: tf.train.ExponentialMovingAverage, num_updates.
_EARLY: Final = 10


class WeightAverage(Hook):
    """Keeps an exponential moving average of the weights that a training changes.

    After each step, average = decay * average + (1 - decay) * weight. Parameters that are trained
    are averaged, and running statistics of norms with them, as they belong to those weights; what
    is no float (a norm's count of batches) stays the model's own. The training itself goes on with
    weights that are not averaged. When it ends, the model has the average.

    It comes before hooks that save or evaluate.

    Args:
        model: whose weights now are the average so far; it may be wrapped for several processes,
            each of which then keeps the same average; of statistics that norms learn from the
            photos of one process, each its own, of which the first one's are saved.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = _averaged_weights(model)
        self._average = {name: weight.clone() for name, weight in self._weights.items()}
        self._decay = decay

    def after_step(self, trainer: Training, record: StepRecord) -> None:  # noqa: ARG002 - of every hook
        """Take the weights after this step into the average."""
        done = record.iteration
        decay = min(self._decay, (1 + done) / (_EARLY + done))
        blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        blend(list(self._average.values()), list(self._weights.values()), done)

    def close(self, trainer: Training) -> None:  # noqa: ARG002 - of every hook
        """Leave the average in the model."""
        _copy(self._average, self._weights)

    @contextmanager
    def in_place(self) -> Iterator[dict[str, Any]]:
        """A block in which the model has the average, and the entries its checkpoint needs.

        Afterwards the model has the weights that it had before.
        """
        own = {name: weight.clone() for name, weight in self._weights.items()}
        _copy(self._average, self._weights)
        try:
            yield {UNAVERAGED_ENTRY: own}
        finally:
            _copy(own, self._weights)


def make_weight_average(
    cfg: CfgNode, model: nn.Module, entries: Mapping[str, Any]
) -> WeightAverage | None:
    """The average that SOLVER.EMA asks for; None if it asks for none.

    Args:
        cfg: settings.
        model: has the weights of the checkpoint that the training goes on from, the average; here
            it gets those that were in training then, whether or not this run averages.
        entries: of that checkpoint.

    Raises:
        CheckpointError: the weights in training are those of another model.
        ConfigError: the decay makes no sense.
    """
    decay = cfg.SOLVER.EMA
    if not 0 <= decay < 1:
        raise ConfigError(
            f"SOLVER.EMA: expected 0 (no average) or a decay below 1, e.g. 0.998, got {decay}"
        )
    average = WeightAverage(model, decay) if decay > 0 else None
    own = entries.get(UNAVERAGED_ENTRY)
    if own is not None:
        _restore(model, own)
    elif average is not None and entries.get("iteration"):
        logger.info("SOLVER.EMA %s: the checkpoint had no average, it begins here", decay)
    if own is not None and average is None:
        logger.warning(
            "The checkpoint had an average of weights (SOLVER.EMA); this run goes on without one"
        )
    return average


def _averaged_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors that change in training, by their names in checkpoints."""
    tensors = {
        name: tensor.detach()
        for name, tensor in model.state_dict(keep_vars=True).items()
        if tensor.is_floating_point() and (tensor.requires_grad or not _is_parameter(tensor))
    }
    return plain_names(tensors)


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])


def _restore(model: nn.Module, own: Mapping[str, Tensor]) -> None:
    weights = plain_names(undistributed(model).state_dict())
    for name, tensor in own.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"cannot resume: the weights in training (entry {UNAVERAGED_ENTRY!r} of the "
                f"checkpoint) are of another model; {name} does not fit"
            )
    _copy(own, {name: weights[name] for name in own})
