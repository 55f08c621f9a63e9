"""The training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.hooks import (
    FINAL_CHECKPOINT,
    CheckpointHook,
    EvaluationHook,
    Hook,
    StepRecord,
)
from maskrcnn_benchmark.engine.inference import make_evaluation
from maskrcnn_benchmark.engine.progress import ProgressHook, format_seconds
from maskrcnn_benchmark.engine.random_state import RandomState, restore_random_state
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.weights.checkpoint import Checkpointer

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from maskrcnn_benchmark.data.collate_batch import Batch

logger = logging.getLogger(__name__)

_ADVICE = (
    "Nothing of this step was kept. Likely causes, most frequent first: (1) the learning rate is "
    "too high for the batch: scale SOLVER.BASE_LR with SOLVER.IMS_PER_BATCH (0.01 belongs to 16 "
    "images); (2) the warm-up is too short: raise SOLVER.WARMUP_ITERS; (3) the mask head starts "
    "too wild: set SOLVER.CLIP_GRAD_NORM (e.g. 10) or MODEL.ROI_MASK_HEAD.LOGITS_INIT_STD (e.g. "
    "0.01); (4) the annotations of these images are broken: look at them. If it happens again soon "
    "after going on from a checkpoint, that one is spoilt already: write the name of an older one "
    "into OUTPUT_DIR/last_checkpoint, or choose another OUTPUT_DIR"
)
_NOTHING_TO_TRAIN = (
    "Nothing to train: iteration %d of SOLVER.MAX_ITER %d is done (%s). To train longer, raise "
    "SOLVER.MAX_ITER; to train anew, choose another OUTPUT_DIR"
)


class Trainer:
    """Runs a model over a data loader, one optimizer step a batch.

    Args:
        runner: of the model that is trained.
        data_loader: gives ``max_iter - start_iter`` batches or more.
        optimizer: stepped once a batch.
        scheduler: stepped after it.
        max_iter: iteration after which training ends.
        start_iter: number of iterations that were done before.
        hooks: called in this order; closed in the opposite one.
        clip_grad_norm: largest L2 norm of all gradients together; 0 does not clip.
        random_state: of the checkpoint that this training goes on from, if it does.
    """

    def __init__(
        self,
        *,
        runner: ModelRunner,
        data_loader: Iterable[Batch],
        optimizer: Optimizer,
        scheduler: LRScheduler,
        max_iter: int,
        start_iter: int = 0,
        hooks: Sequence[Hook] = (),
        clip_grad_norm: float = 0.0,
        random_state: RandomState | None = None,
    ) -> None:
        self.model = runner.model
        self.device = runner.device
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.max_iter = max_iter
        self.start_iter = start_iter
        self.iteration = start_iter
        self._runner = runner
        self._data_loader = data_loader
        self._hooks = tuple(hooks)
        self._clip_grad_norm = clip_grad_norm
        self._random_state = random_state

    def train(self) -> None:
        """Do the steps ``start_iter + 1 .. max_iter``.

        Raises:
            FloatingPointError: a loss or the gradient norm was not finite.
            RuntimeError: the data loader ended too early.
        """
        self.model.train()
        with self._opened_hooks():
            batches = iter(self._data_loader)
            # Only now, because making the iterator draws a random number, and the run that is
            # continued here had drawn it before its state was saved.
            if self._random_state is not None:
                restore_random_state(self._random_state)
            while self.iteration < self.max_iter:
                record = self._timed_step(batches)
                for hook in self._hooks:
                    hook.after_step(self, record)

    @contextmanager
    def _opened_hooks(self) -> Iterator[None]:
        try:
            for hook in self._hooks:
                hook.before_train(self)
            yield
        finally:
            for hook in reversed(self._hooks):
                hook.close(self)

    def _timed_step(self, batches: Iterator[Batch]) -> StepRecord:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            raise RuntimeError(
                f"the data loader ended after iteration {self.iteration}, "
                f"but training should reach iteration {self.max_iter}"
            )
        data_time = time.perf_counter() - start
        lr = float(self.optimizer.param_groups[0]["lr"])
        losses, grad_norm = self.run_step(batch)
        self.iteration += 1
        return StepRecord(
            self.iteration, losses, lr, grad_norm, data_time, time.perf_counter() - start
        )

    def run_step(self, batch: Batch) -> tuple[dict[str, float], float | None]:
        """The losses of one optimizer step on ``batch``, and the norm of its gradient.

        Losses are means over the processes; "loss" is their sum. The norm, before it was clipped,
        is None without clipping.

        Raises:
            FloatingPointError: a loss, or the norm, is not finite; no parameter was changed.
        """
        losses = self._runner.losses(batch)
        _, _, image_ids = batch
        self.optimizer.zero_grad()
        reduce(torch.add, losses.values()).backward()  # type: ignore[no-untyped-call]
        # After backward, so that a GPU is not kept waiting for the numbers.
        means = self._finite_means(losses, image_ids)
        grad_norm = self._clip_gradients(image_ids)
        self.optimizer.step()
        self.scheduler.step()
        return means, grad_norm

    def _finite_means(
        self, losses: Mapping[str, Tensor], image_ids: Sequence[int]
    ) -> dict[str, float]:
        """Mean of each loss over the processes, after their sum."""
        names = list(losses)
        values = torch.stack([losses[name].detach().float() for name in names])
        rows = comm.gather_rows(values).tolist()
        if not all(math.isfinite(value) for row in rows for value in row):
            self._stop_non_finite(names, rows, image_ids)
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return {"loss": sum(means), **dict(zip(names, means, strict=True))}

    def _stop_non_finite(
        self, names: Sequence[str], rows: Sequence[Sequence[float]], image_ids: Sequence[int]
    ) -> None:
        all_image_ids = comm.all_gather(list(image_ids))
        reports = [
            f"process {rank}: images {all_image_ids[rank]}: "
            + ", ".join(f"{name} {value:.4g}" for name, value in zip(names, row, strict=True))
            for rank, row in enumerate(rows)
            if not all(map(math.isfinite, row))
        ]
        raise FloatingPointError(
            f"a loss is not finite at iteration {self.iteration + 1}; "
            f"{'; '.join(reports)}. {_ADVICE}"
        )

    def _clip_gradients(self, image_ids: Sequence[int]) -> float | None:
        if self._clip_grad_norm <= 0:
            return None
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, self._clip_grad_norm))
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient norm is {norm} at iteration {self.iteration + 1} although the "
                f"losses are finite; images {comm.all_gather(list(image_ids))}. {_ADVICE}"
            )
        return norm


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How long a training goes, and what happens on the way; periods are iterations, 0 is never.

    They are named as the keys of SOLVER; metrics go to ``output_dir``, which is OUTPUT_DIR.
    """

    max_iter: int
    clip_grad_norm: float
    log_period: int
    checkpoint_period: int
    test_period: int
    output_dir: Path

    @classmethod
    def from_config(cls, cfg: CfgNode) -> TrainingSettings:
        """Those of the configuration."""
        return cls(
            max_iter=int(cfg.SOLVER.MAX_ITER),
            clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
            log_period=cfg.SOLVER.LOG_PERIOD,
            checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
            test_period=cfg.SOLVER.TEST_PERIOD,
            output_dir=Path(cfg.OUTPUT_DIR),
        )


def run_training(
    settings: TrainingSettings,
    *,
    runner: ModelRunner,
    data_loader: Iterable[Batch],
    optimizer: Optimizer,
    scheduler: LRScheduler,
    checkpointer: Checkpointer,
    entries: Mapping[str, Any],
    evaluate: Callable[[], object] | None = None,
) -> None:
    """Train until ``max_iter``, with log lines, checkpoints and evaluations on the way.

    Args:
        settings: how long, and when what happens.
        runner: of the model; in distributed training wrapped by ``DistributedDataParallel``.
        data_loader: gives the batches that are left.
        optimizer: over the parameters of the model.
        scheduler: of ``optimizer``.
        checkpointer: saves model, optimizer and scheduler.
        entries: of the checkpoint that this goes on from: ``iteration``, perhaps ``rng_state``,
            and what else the next checkpoints should keep.
        evaluate: does an evaluation; None: there is none.

    Raises:
        FloatingPointError: a loss, the gradient norm or a parameter was not finite.
    """
    start_iter = int(entries["iteration"])
    if start_iter >= settings.max_iter:
        logger.info(_NOTHING_TO_TRAIN, start_iter, settings.max_iter, settings.output_dir)
        # A run that was killed before it wrote it, or whose MAX_ITER has come down since.
        if not (settings.output_dir / f"{FINAL_CHECKPOINT}.pth").is_file():
            checkpointer.save(FINAL_CHECKPOINT, **entries)
        return
    trainer = Trainer(
        runner=runner,
        data_loader=data_loader,
        optimizer=optimizer,
        scheduler=scheduler,
        max_iter=settings.max_iter,
        start_iter=start_iter,
        hooks=_training_hooks(settings, checkpointer, entries, evaluate),
        clip_grad_norm=settings.clip_grad_norm,
        random_state=random_state_of_this_process(entries.get("rng_state")),
    )
    _train_with_log(trainer)


def _training_hooks(
    settings: TrainingSettings,
    checkpointer: Checkpointer,
    entries: Mapping[str, Any],
    evaluate: Callable[[], object] | None,
) -> list[Hook]:
    hooks: list[Hook] = [
        # First, so that a checkpoint is never ahead of the metrics on the disk.
        ProgressHook(period=settings.log_period, output_dir=settings.output_dir),
        CheckpointHook(
            checkpointer=checkpointer, period=settings.checkpoint_period, entries=entries
        ),
    ]
    if evaluate is not None and settings.test_period > 0:
        hooks.append(EvaluationHook(period=settings.test_period, evaluate=evaluate))
    return hooks


def do_train(
    cfg: CfgNode,
    model: nn.Module,
    data_loader: DataLoader[Any],
    data_loader_val: DataLoader[Any] | None,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    checkpointer: Checkpointer,
    device: str | torch.device,
    checkpoint_period: int,
    test_period: int,
    arguments: Mapping[str, Any],
) -> None:
    """Train as ``run_training`` does; this is the call that scripts for the original make.

    ``data_loader_val`` is that of the first test set, None evaluates nothing; ``checkpoint_period``
    and ``test_period`` count instead of the settings'; ``arguments`` are the checkpoint's entries.
    """
    runner = ModelRunner.from_config(cfg, model, torch.device(device))
    evaluate = None
    if data_loader_val is not None:
        evaluate = make_evaluation(cfg, runner, cfg.DATASETS.TEST[0], data_loader_val)
    settings = TrainingSettings.from_config(cfg)
    run_training(
        replace(settings, checkpoint_period=checkpoint_period, test_period=test_period),
        runner=runner,
        data_loader=data_loader,
        optimizer=optimizer,
        scheduler=scheduler,
        checkpointer=checkpointer,
        entries=arguments,
        evaluate=evaluate,
    )


def random_state_of_this_process(saved: Sequence[RandomState] | None) -> RandomState | None:
    """This process' part of the ``rng_state`` of a checkpoint; None if there is none for it."""
    if saved is None:
        return None
    if len(saved) != comm.get_world_size():
        logger.warning(
            "the checkpoint was saved by %d processes, now there are %d: random numbers will "
            "differ from those of an uninterrupted training",
            len(saved),
            comm.get_world_size(),
        )
        return None
    return saved[comm.get_rank()]


def _train_with_log(trainer: Trainer) -> None:
    """Train; log how long it took, or where it was stopped."""
    logger.info("Start training: iterations %d to %d", trainer.start_iter + 1, trainer.max_iter)
    start = time.perf_counter()
    try:
        trainer.train()
    except (KeyboardInterrupt, SystemExit):
        logger.warning(
            "Training was stopped after iteration %d of %d. The same command goes on from the last "
            "checkpoint, or begins anew if none was written yet (SOLVER.CHECKPOINT_PERIOD)",
            trainer.iteration,
            trainer.max_iter,
        )
        raise
    seconds = time.perf_counter() - start
    logger.info(
        "Total training time: %s (%.4f s / it)",
        format_seconds(seconds),
        seconds / (trainer.max_iter - trainer.start_iter),
    )
