"""Learning rate as a function of the iteration: a warm-up times a decay.

Iterations count from 0: iteration ``i`` is the ``i + 1``-th optimizer step.
"""

import logging
import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

logger = logging.getLogger(__name__)

WARMUP_METHODS = ("constant", "linear")
# Attributes of a schedule that come from the configuration, in contrast to its state.
_SETTINGS = (
    "base_lrs",
    "gamma",
    "max_iters",
    "milestones",
    "warmup_factor",
    "warmup_iters",
    "warmup_method",
)


class WarmupLR(LRScheduler, ABC):
    """A schedule that starts low: base lr x warm-up factor x decay factor.

    The warm-up factor is ``warmup_factor`` for the first ``warmup_iters`` iterations ("constant",
    followed by a jump to 1), or rises from it to 1 on a straight line ("linear").

    A subclass sets what its ``decay`` reads before it calls this constructor, because that already
    computes the first learning rate.

    Args:
        optimizer: its groups' ``lr`` are the base learning rates.
        warmup_factor: factor at iteration 0.
        warmup_iters: length of the warm-up in iterations, >= 0.
        warmup_method: "constant" or "linear".
        last_epoch: newest iteration that has been done, -1 for none.

    Raises:
        ValueError: another ``warmup_method``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if warmup_method not in WARMUP_METHODS:
            raise ValueError(
                f"warmup_method must be one of {WARMUP_METHODS}, got {warmup_method!r}"
            )
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    @abstractmethod
    def decay(self, iteration: int) -> float:
        """The factor on the base learning rates at ``iteration``, warm-up left out."""

    def warmup(self, iteration: int) -> float:
        """The warm-up factor at ``iteration``, 1 once the warm-up is over."""
        if iteration >= self.warmup_iters:
            return 1.0
        if self.warmup_method == "constant":
            return self.warmup_factor
        progress = iteration / self.warmup_iters
        return self.warmup_factor * (1 - progress) + progress

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group at iteration ``last_epoch``."""
        warmup, decay = self.warmup(self.last_epoch), self.decay(self.last_epoch)
        return [base_lr * warmup * decay for base_lr in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the iteration of ``state_dict``, with the settings this schedule was made with.

        Settings that differ from the saved ones are logged; base learning rates too are those this
        schedule was made with. So a resumed run follows the configuration in hand.

        Raises:
            KeyError: ``state_dict`` has no ``last_epoch``.
        """
        # UPSTREAM(resumed-schedule): the original took every setting from the checkpoint, so that a
        # change of SOLVER.STEPS, MAX_ITER or BASE_LR in a resumed run was silently ignored.
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict.get("_step_count", self.last_epoch + 1)
        for name in (name for name in _SETTINGS if name in self.__dict__):
            mine = self.__dict__[name]
            saved = state_dict.get(name, mine)
            if not _same_setting(saved, mine):
                logger.warning("%s: the checkpoint had %s, going on with %s", name, saved, mine)
        learning_rates = self.get_lr()
        for group, lr, base_lr in zip(
            self.optimizer.param_groups, learning_rates, self.base_lrs, strict=True
        ):
            group.update(lr=lr, initial_lr=base_lr)
        self._last_lr = learning_rates


def _same_setting(saved: object, mine: object) -> bool:
    """Whether two settings say the same; a saved list may stand for a tuple."""
    if isinstance(saved, (list, tuple)) and isinstance(mine, (list, tuple)):
        return list(saved) == list(mine)
    return saved == mine


class WarmupMultiStepLR(WarmupLR):
    """Warm-up, then a drop by ``gamma`` at each of the ``milestones``.

    Args:
        optimizer: its groups' ``lr`` are the base learning rates.
        milestones: iterations of the drops, ascending; the iteration itself has the lower rate.
        gamma: factor of one drop.
        warmup_factor: see ``WarmupLR``, and so for all that follow.

    Raises:
        ValueError: ``milestones`` do not ascend, or ``warmup_method`` is unknown.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones must ascend, got {tuple(milestones)}")
        self.milestones = list(milestones)
        self.gamma = gamma
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def decay(self, iteration: int) -> float:
        """``gamma`` to the power of the milestones that ``iteration`` has reached."""
        return float(self.gamma ** bisect_right(self.milestones, iteration))


class WarmupCosineLR(WarmupLR):
    """Warm-up times half a cosine wave from 1 at iteration 0 to 0 at ``max_iters``.

    Args:
        optimizer: its groups' ``lr`` are the base learning rates.
        max_iters: length of the training in iterations, >= 1.
        warmup_factor: see ``WarmupLR``, and so for all that follow.

    Raises:
        ValueError: ``max_iters`` < 1, or ``warmup_method`` is unknown.

    Source: SGDR (Loshchilov & Hutter, 2017), Eq. (5), without restarts and with a floor of 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 1.0 / 3,
        warmup_iters: int = 500,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if max_iters < 1:
            raise ValueError(f"max_iters must be at least 1, got {max_iters}")
        self.max_iters = max_iters
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def decay(self, iteration: int) -> float:
        """Height of the wave at ``iteration``, which stays 0 after ``max_iters``."""
        progress = min(iteration / self.max_iters, 1.0)
        return 0.5 * (1.0 + math.cos(math.pi * progress))
