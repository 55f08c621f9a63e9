"""What evaluations during a training decide: which checkpoint is best, and when it is enough."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.hooks import (
    FINAL_CHECKPOINT,
    SCORE_ENTRY,
    CheckpointWriter,
    Hook,
    ResultBlock,
    StepRecord,
    Training,
    as_trained,
)
from maskrcnn_benchmark.engine.random_state import preserved_random_state
from maskrcnn_benchmark.evaluation import EvaluationResult
from maskrcnn_benchmark.evaluation.result import Headline
from maskrcnn_benchmark.utils.comm import all_gather, is_main_process, synchronize
from maskrcnn_benchmark.weights.checkpoint import store_score_threshold
from maskrcnn_benchmark.weights.files import read_mapped

logger = logging.getLogger(__name__)

BEST_CHECKPOINT: Final = "model_best"


class Outcome(NamedTuple):
    """An evaluation during the training, as every process knows it.

    Attributes:
        iteration: after which it was done.
        headline: the number to compare; None if the data have nothing to be found.
        score_threshold: of ``EvaluationResult``.
    """

    iteration: int
    headline: Headline | None
    score_threshold: float | None


class OutcomeListener(Protocol):
    """Something that learns of evaluations, on every process."""

    def after_evaluation(self, trainer: Training, outcome: Outcome) -> None:
        """Called after each of them."""


class EvaluationHook(Hook):
    """Evaluates every ``period`` iterations without a trace in the training.

    Training and evaluation mode, and the random generators, are afterwards what they were before.

    Args:
        period: iterations between two evaluations, >= 1.
        evaluate: does one evaluation; every process calls it, the first gets the result.
        listeners: learn of the outcome, in this order.
        result: of the training, which is evaluated.
        at_end: whether there is one after the last iteration, too, wherever that falls.
    """

    def __init__(
        self,
        *,
        period: int,
        evaluate: Callable[[], EvaluationResult | None],
        listeners: Sequence[OutcomeListener] = (),
        result: ResultBlock = as_trained,
        at_end: bool = False,
    ) -> None:
        self._period = period
        self._evaluate = evaluate
        self._listeners = tuple(listeners)
        self._result = result
        self._at_end = at_end

    def after_step(self, trainer: Training, record: StepRecord) -> None:
        """Evaluate when it is time."""
        is_end = self._at_end and record.iteration == trainer.max_iter
        if record.iteration % self._period and not is_end:
            return
        logger.info("evaluating at iteration %d", record.iteration)
        was_training = trainer.model.training
        with preserved_random_state(), self._result():
            result = self._evaluate()
        trainer.model.train(was_training)
        if self._listeners:
            self._tell(trainer, record.iteration, result)
        synchronize()

    def _tell(self, trainer: Training, iteration: int, result: EvaluationResult | None) -> None:
        mine = None
        if result is not None:
            mine = Outcome(iteration, result.headline(), result.score_threshold)
        # What the first process found holds for all, so that all stop together.
        outcome = all_gather(mine)[0]
        if outcome is None:
            return
        for listener in self._listeners:
            listener.after_evaluation(trainer, outcome)


@dataclass(slots=True)
class BestSoFar:
    """The best evaluation of a run; of equals the first. None before there was one.

    Attributes:
        value: its number, in percent.
        iteration: after which it was done.
    """

    value: float | None = None
    iteration: int = 0

    @classmethod
    def read(cls, output_dir: Path, start_iter: int) -> BestSoFar:
        """That of the run that goes on here, from its best checkpoint; a new one has none.

        Every process must call this; the first one reads.
        """
        best = cls()
        path = output_dir / f"{BEST_CHECKPOINT}.pth"
        if is_main_process() and start_iter > 0 and path.is_file():
            entries = read_mapped(path)
            value, iteration = entries.get(SCORE_ENTRY), entries.get("iteration")
            if isinstance(value, float) and isinstance(iteration, int):
                best = cls(value, iteration)
        return all_gather(best)[0]

    def is_surpassed_by(self, value: float) -> bool:
        """Whether ``value`` is better."""
        return self.value is None or value > self.value


class BestKeeper:
    """Saves ``model_best`` after every evaluation that is better than all before.

    Args:
        best: of the run until here; kept up to date.
        writer: saves it.
    """

    def __init__(self, best: BestSoFar, writer: CheckpointWriter) -> None:
        self._best = best
        self._writer = writer

    def after_evaluation(self, trainer: Training, outcome: Outcome) -> None:
        """Save if it is the best."""
        if outcome.headline is None:
            logger.warning(
                "the evaluation has no number to compare, as there is nothing to be found in its "
                "photos: %s is not written",
                BEST_CHECKPOINT,
            )
            return
        name, value = outcome.headline
        if not self._best.is_surpassed_by(value):
            logger.info(
                "%s %.2f at iteration %d; the best is still %.2f of iteration %d",
                *(name, value, outcome.iteration, self._best.value, self._best.iteration),
            )
            return
        self._best.value, self._best.iteration = value, outcome.iteration
        logger.info("%s %.2f at iteration %d is the best", name, value, outcome.iteration)
        self._writer.save(
            BEST_CHECKPOINT,
            trainer,
            outcome.iteration,
            is_latest=False,
            score_threshold=outcome.score_threshold,
            further={SCORE_ENTRY: value},
        )


class EarlyStop:
    """Ends a training that no longer gets better.

    Args:
        best: of the run, kept up to date by a ``BestKeeper`` that is told first.
        patience: evaluations in a row that are not better, after which it ends; >= 1.
        period: iterations between two evaluations.
    """

    def __init__(self, best: BestSoFar, patience: int, period: int) -> None:
        self._best = best
        self._patience = patience
        self._period = period

    def is_due(self, iteration: int) -> bool:
        """Whether a training is to end that is at this iteration."""
        if self._best.value is None:
            return False
        num_since = iteration // self._period - self._best.iteration // self._period
        return num_since >= self._patience

    def after_evaluation(self, trainer: Training, outcome: Outcome) -> None:
        """Let the training end if it is time."""
        if outcome.iteration < trainer.max_iter and self.is_due(outcome.iteration):
            logger.info(
                "Stopping early at iteration %d of %d: no better evaluation since iteration %d "
                "(SOLVER.EARLY_STOP_PATIENCE %d)",
                *(outcome.iteration, trainer.max_iter, self._best.iteration, self._patience),
            )
            trainer.stop()


class ThresholdNote(Hook):
    """Notes in the last checkpoint from which score on objects are shown, if it was evaluated.

    It is a listener, and a hook that comes after the one that writes that checkpoint.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: Outcome | None = None

    def after_evaluation(self, trainer: Training, outcome: Outcome) -> None:
        """Remember the threshold; note it, if this was the last iteration."""
        self._newest = outcome
        if outcome.iteration == trainer.max_iter:
            self._note(outcome.iteration)

    def after_stop(self, trainer: Training) -> None:
        """Note the threshold of the evaluation that ended the training."""
        self._note(trainer.iteration)

    def _note(self, iteration: int) -> None:
        newest = self._newest
        if newest is None or newest.iteration != iteration or newest.score_threshold is None:
            return
        if is_main_process() and self._path.is_file():
            store_score_threshold(self._path, newest.score_threshold)


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """How a training is watched.

    Attributes:
        period: iterations between two evaluations; 0: none.
        keep_best: whether the best checkpoint is kept.
        patience: evaluations without a better one after which it ends; 0: never.
    """

    period: int
    keep_best: bool
    patience: int

    @classmethod
    def from_config(cls, cfg: CfgNode) -> ValidationSettings:
        """Those of ``cfg.SOLVER``.

        Raises:
            ConfigError: a value makes no sense, or something depends on evaluations, and there are
                none.
        """
        solver = cfg.SOLVER
        patience = solver.EARLY_STOP_PATIENCE
        if patience < 0:
            raise ConfigError(f"SOLVER.EARLY_STOP_PATIENCE: expected 0 or more, got {patience}")
        # Ending early is to end with the best.
        settings = cls(solver.TEST_PERIOD, solver.KEEP_BEST or patience > 0, patience)
        if settings.keep_best and not (settings.period > 0 and cfg.DATASETS.TEST):
            key = "EARLY_STOP_PATIENCE" if patience else "KEEP_BEST"
            raise ConfigError(
                f"SOLVER.{key} needs evaluations during the training: expected SOLVER.TEST_PERIOD "
                f"of at least 1 and a data set in DATASETS.TEST, got {settings.period} and "
                f"{tuple(cfg.DATASETS.TEST)}"
            )
        return settings

    def best_path(self, output_dir: Path) -> Path | None:
        """The file of a run's best checkpoint; None if it keeps none, or has none yet."""
        path = output_dir / f"{BEST_CHECKPOINT}.pth"
        return path if self.keep_best and path.is_file() else None

    def result_path(self, output_dir: Path) -> Path:
        """The file that a training leads to: the best checkpoint, or else the last."""
        return self.best_path(output_dir) or output_dir / f"{FINAL_CHECKPOINT}.pth"


class Validation:
    """The evaluations of one training, and what follows from them.

    Args:
        settings: of it.
        output_dir: of the run.
        best: of the run until here.
    """

    def __init__(self, settings: ValidationSettings, output_dir: Path, best: BestSoFar) -> None:
        self._settings = settings
        self._best = best
        self._note = ThresholdNote(output_dir / f"{FINAL_CHECKPOINT}.pth")
        self._early_stop = EarlyStop(best, settings.patience, settings.period)

    def is_over(self, iteration: int) -> bool:
        """Whether a run that stopped at this iteration was to stop there."""
        settings = self._settings
        return min(settings.patience, settings.period) > 0 and self._early_stop.is_due(iteration)

    def hooks(
        self, evaluate: Callable[[], EvaluationResult | None], writer: CheckpointWriter
    ) -> list[Hook]:
        """What a trainer calls.

        Args:
            evaluate: as of ``EvaluationHook``.
            writer: saves the best checkpoint; what it saves as the model is evaluated.
        """
        if self._settings.period == 0:
            return []
        listeners: list[OutcomeListener] = []
        if self._settings.keep_best:
            listeners += [BestKeeper(self._best, writer), self._note]
        if self._settings.patience:
            listeners.append(self._early_stop)
        evaluation = EvaluationHook(
            period=self._settings.period,
            evaluate=evaluate,
            listeners=listeners,
            result=writer.result,
            at_end=self._settings.keep_best,
        )
        return [evaluation, self._note]
