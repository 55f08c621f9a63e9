"""The training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.engine.averaging import WeightAverage, make_weight_average
from maskrcnn_benchmark.engine.forward import ModelRunner, make_training_runner
from maskrcnn_benchmark.engine.hooks import (
    FINAL_CHECKPOINT,
    SCALER_ENTRY,
    CheckpointHook,
    CheckpointWriter,
    Hook,
    StepRecord,
    as_trained,
)
from maskrcnn_benchmark.engine.inference import make_evaluation
from maskrcnn_benchmark.engine.progress import ProgressHook, format_seconds
from maskrcnn_benchmark.engine.random_state import RandomState, restore_random_state
from maskrcnn_benchmark.engine.validation import BestSoFar, Validation, ValidationSettings
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
    "Nothing to train: iteration %d of SOLVER.MAX_ITER %d is done (%s), or was not followed by a "
    "better evaluation. To train longer, raise SOLVER.MAX_ITER (or EARLY_STOP_PATIENCE); to train "
    "anew, choose another OUTPUT_DIR"
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
        scaler_state: of that checkpoint, if it was trained in float16.

    Attributes:
        scaler: multiplies the loss, if the runner computes in float16, by what keeps its gradients
            in range; a step in which they are not is left out, and the factor falls.
        skipped_steps: number of such steps.
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
        scaler_state: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = runner.model
        self.device = runner.device
        self.dtype = runner.dtype
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.max_iter = max_iter
        self.start_iter = start_iter
        self.iteration = start_iter
        self.scaler = torch.amp.GradScaler(
            runner.device.type, enabled=runner.dtype == torch.float16
        )
        if scaler_state is not None:
            self.scaler.load_state_dict(dict(scaler_state))
        self.skipped_steps = 0
        self._runner = runner
        self._data_loader = data_loader
        self._hooks = tuple(hooks)
        self._clip_grad_norm = clip_grad_norm
        self._random_state = random_state
        self._is_stopped = False

    def train(self) -> None:
        """Do the steps ``start_iter + 1 .. max_iter``, or those until ``stop`` is called.

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
            while self.iteration < self.max_iter and not self._is_stopped:
                record = self._timed_step(batches)
                for hook in self._hooks:
                    hook.after_step(self, record)
            if self.iteration < self.max_iter:
                for hook in self._hooks:
                    hook.after_stop(self)

    def stop(self) -> None:
        """Let the training end after this iteration; every process must ask for it in the same."""
        self._is_stopped = True

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
        is None without clipping, and where the step was left out (see ``scaler``).

        Raises:
            FloatingPointError: a loss, or the norm, is not finite; no parameter was changed.
        """
        losses = self._runner.losses(batch)
        _, _, image_ids = batch
        self.optimizer.zero_grad()
        self.scaler.scale(reduce(torch.add, losses.values())).backward()  # type: ignore[no-untyped-call]
        # After backward, so that a GPU is not kept waiting for the numbers.
        means = self._finite_means(losses, image_ids)
        self.scaler.unscale_(self.optimizer)
        grad_norm = self._clip_gradients(image_ids)
        grad_norm = None if self._step_optimizer() else grad_norm
        self.scheduler.step()
        return means, grad_norm

    def _step_optimizer(self) -> bool:
        """Whether the step was left out, because a gradient was out of the range of float16."""
        factor = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        is_skipped = self.scaler.get_scale() < factor
        if is_skipped:
            self.skipped_steps += 1
            logger.info(
                "iteration %d: gradients out of the range of float16, no step was done (%d so far "
                "in this process); the loss is multiplied by %g from here on",
                self.iteration + 1,
                self.skipped_steps,
                self.scaler.get_scale(),
            )
        return is_skipped

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
        # With a scaler that happens now and then; it leaves such steps out.
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise FloatingPointError(
                f"the gradient norm is {norm} at iteration {self.iteration + 1} although the "
                f"losses are finite; images {comm.all_gather(list(image_ids))}. {_ADVICE}"
            )
        return norm


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
    """Train until SOLVER.MAX_ITER, with log lines, checkpoints and evaluations on the way.

    ``model`` is on ``device``, in distributed training wrapped by ``DistributedDataParallel``.
    ``data_loader`` gives the batches that are left, ``data_loader_val`` those of the first test set
    (None: no evaluation). Periods are iterations, 0 is never; the last one has a checkpoint anyway.
    ``arguments`` are the entries of the checkpoint that this goes on from; ``iteration`` is needed.

    Raises:
        ConfigError: SOLVER.EMA, or a setting of evaluations, makes no sense.
        FloatingPointError: a loss, the gradient norm or a parameter was not finite.
    """
    start_iter, max_iter = int(arguments["iteration"]), int(cfg.SOLVER.MAX_ITER)
    validation = _make_validation(cfg, test_period, start_iter)
    if start_iter >= max_iter or validation.is_over(start_iter):
        logger.info(_NOTHING_TO_TRAIN, start_iter, max_iter, cfg.OUTPUT_DIR)
        _complete(checkpointer, Path(cfg.OUTPUT_DIR), arguments)
        return
    runner = make_training_runner(cfg, model, torch.device(device))
    average = make_weight_average(cfg, runner.model, arguments)
    writer = CheckpointWriter(checkpointer, arguments, average.in_place if average else as_trained)
    hooks = _make_hooks(cfg, average, writer, checkpoint_period)
    if data_loader_val is not None:
        evaluate = make_evaluation(cfg, runner, cfg.DATASETS.TEST[0], data_loader_val)
        hooks += validation.hooks(evaluate, writer)
    trainer = Trainer(
        runner=runner,
        data_loader=data_loader,
        optimizer=optimizer,
        scheduler=scheduler,
        max_iter=max_iter,
        start_iter=start_iter,
        hooks=hooks,
        clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
        random_state=random_state_of_this_process(arguments.get("rng_state")),
        scaler_state=arguments.get(SCALER_ENTRY),
    )
    _train_with_log(trainer)


def _make_hooks(
    cfg: CfgNode, average: WeightAverage | None, writer: CheckpointWriter, period: int
) -> list[Hook]:
    return [
        # First, so that a checkpoint is never ahead of the metrics on the disk.
        ProgressHook(period=cfg.SOLVER.LOG_PERIOD, output_dir=Path(cfg.OUTPUT_DIR)),
        *([] if average is None else [average]),
        CheckpointHook(writer=writer, period=period, keep=cfg.SOLVER.KEEP_CHECKPOINTS),
    ]


def _make_validation(cfg: CfgNode, period: int, start_iter: int) -> Validation:
    settings = replace(ValidationSettings.from_config(cfg), period=period)
    output_dir = Path(cfg.OUTPUT_DIR)
    return Validation(settings, output_dir, BestSoFar.read(output_dir, start_iter))


def _complete(checkpointer: Checkpointer, output_dir: Path, entries: Mapping[str, Any]) -> None:
    """Save the last checkpoint of a run that was killed before it, or has less to do since."""
    if not (output_dir / f"{FINAL_CHECKPOINT}.pth").is_file():
        checkpointer.save(FINAL_CHECKPOINT, **entries)


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
    logger.info(
        "Start training: iterations %d to %d, layers in %s where they may",
        trainer.start_iter + 1,
        trainer.max_iter,
        trainer.dtype,
    )
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
        seconds / (trainer.iteration - trainer.start_iter),
    )
