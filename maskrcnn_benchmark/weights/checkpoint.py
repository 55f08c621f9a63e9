"""Saving a training run and going on from where it stopped."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from maskrcnn_benchmark.config.convention import Convention, ForeignProgram
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.utils.comm import is_main_process
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.weights.classes import with_own_classes
from maskrcnn_benchmark.weights.description import (
    DESCRIPTION_ENTRY,
    Category,
    ModelDescription,
)
from maskrcnn_benchmark.weights.download import cache_url
from maskrcnn_benchmark.weights.files import read_torch_file, read_weight_file, write_torch_file
from maskrcnn_benchmark.weights.library import fetch_in_turn
from maskrcnn_benchmark.weights.load_report import CheckpointError, LoadReport, WeightFile
from maskrcnn_benchmark.weights.model_serialization import load_state_dict, plain_names, unwrap
from maskrcnn_benchmark.weights.sources import SETTINGS_ENTRY, check_settings, find_weight_source
from maskrcnn_benchmark.weights.training_state import restore_optimizer, unloadable_entries

if TYPE_CHECKING:
    from maskrcnn_benchmark.config import CfgNode

_POINTER = "last_checkpoint"
_PERIODIC = re.compile(r"model_(\d{7,})\.pth")
_STATES = ("optimizer", "scheduler")
# What is left of a checkpoint that is given to others.
_SHARED = ("model", SETTINGS_ENTRY, DESCRIPTION_ENTRY)


class Checkpointer:
    """Checkpoints of one run in one folder.

    The file ``last_checkpoint`` in the folder names the newest complete checkpoint; a run that
    finds it resumes from there.

    Args:
        model: its weights are saved and loaded, those of the model itself if it is wrapped.
        optimizer: its state is saved, and restored when resuming; None leaves it out.
        scheduler: the same.
        save_dir: folder of the checkpoints; ``""`` neither saves nor resumes.
        save_to_disk: whether this process writes; by default the first of a distributed run does.
        logger: receives the reports, this module's by default.

    Attributes:
        last_report: what the latest ``load`` did with each tensor, None before.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        scheduler: LRScheduler | None = None,
        save_dir: str | os.PathLike[str] = "",
        save_to_disk: bool | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.save_dir = os.fspath(save_dir)
        # UPSTREAM(save-by-default): None meant False there: a script without the argument saved
        # nothing.
        self.save_to_disk = is_main_process() if save_to_disk is None else save_to_disk
        self.logger = logger or logging.getLogger(__name__)
        self.last_report: LoadReport | None = None
        self._heads_of: ForeignProgram = ""
        self._may_lack: tuple[str, ...] = ("",)

    def drop_older(self, iteration: int, keep: int) -> None:
        """Delete the checkpoints ``model_0000123.pth`` up to an iteration, but for the newest.

        Args:
            iteration: later ones, of another run in the folder, are left alone.
            keep: how many stay; at least 1, as a run goes on from the newest.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        found = {
            int(match[1]): path
            for path in Path(self.save_dir).iterdir()
            if (match := _PERIODIC.fullmatch(path.name)) and int(match[1]) <= iteration
        }
        for number in sorted(found)[: -max(keep, 1)]:
            found[number].unlink(missing_ok=True)

    def save(
        self,
        name: str,
        *,
        is_latest: bool = True,
        score_threshold: float | None = None,  # noqa: ARG002 - for subclasses, which describe models
        **extra: Any,
    ) -> None:
        """Write ``name.pth`` and then name it in ``last_checkpoint``; both atomically.

        A process killed at any moment leaves the checkpoint before this one, or this one.

        Args:
            name: file name without ``.pth``, e.g. ``"model_0010000"``.
            is_latest: False leaves ``last_checkpoint`` as it is.
            score_threshold: of ``ModelDescription``, in checkpoints that have one.
            extra: further entries (``iteration``, ``rng_state``), which ``load`` returns: tensors,
                numbers, texts and plain containers of them.

        Raises:
            ValueError: an entry could not be read back from the file.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content: dict[str, Any] = dict(extra)
        for key in _STATES:
            holder = getattr(self, key)
            if holder is not None:
                content[key] = holder.state_dict()
        wrong = list(unloadable_entries(content, "checkpoint"))
        if wrong:
            raise ValueError(
                "Checkpointer.save: expected tensors, numbers, texts and plain containers, which "
                f"alone can be loaded again safely; got {', '.join(wrong[:5])}"
            )
        content["model"] = plain_names(unwrap(self.model).state_dict())
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        with atomic_write(path) as file:
            torch.save(content, file)
        if is_latest:
            self.tag_last_checkpoint(path)

    def load(
        self,
        f: str | os.PathLike[str] | None = None,
        use_latest: bool = True,
        *,
        strict: bool = False,
    ) -> dict[str, Any]:
        """The further entries of the checkpoint from which the run resumes, ``{}`` at its start.

        If ``last_checkpoint`` exists, its file must fit the model exactly; optimizer and scheduler
        go on from it. Otherwise ``f`` gives the initial weights and nothing else.

        Args:
            f: initial weights; None or ``""`` for none.
            use_latest: whether to look for ``last_checkpoint``.
            strict: demand that ``f`` is given and fits the model exactly, as evaluation should.

        Raises:
            CheckpointError: a file is absent, damaged, or does not fit.
        """
        if use_latest and self.has_checkpoint():
            latest = self.get_checkpoint_file()
            if f:
                self.logger.info(
                    "Resuming from %s, which %s names; %s is not used", latest, self._pointer(), f
                )
            return self._resume(latest)
        if f:
            # UPSTREAM(weights-only-start): the original restored iteration, optimizer and schedule
            # from it too, so that a training from a released model ended at once.
            self._initialize(f, strict)
        elif strict:
            raise CheckpointError(
                "no weights: expected MODEL.WEIGHT, or a run with checkpoints in OUTPUT_DIR "
                f"({self.save_dir or 'not set'})"
            )
        else:
            self.logger.info("No checkpoint and no weights given: starting from random weights")
        return {}

    def has_checkpoint(self) -> bool:
        """Whether ``last_checkpoint`` exists in the folder."""
        return bool(self.save_dir) and self._pointer().is_file()

    def get_checkpoint_file(self) -> str:
        """Path of the checkpoint that ``last_checkpoint`` names, ``""`` without one.

        The file of that name in the folder itself goes first, so a run can be moved or copied.

        Raises:
            CheckpointError: ``last_checkpoint`` names a file that does not exist.
        """
        if not self.has_checkpoint():
            return ""
        named = self._pointer().read_text(encoding="utf-8").strip()
        for path in (Path(self.save_dir) / Path(named).name, Path(named)):
            if path.is_file():
                return str(path)
        present = ", ".join(sorted(p.name for p in Path(self.save_dir).glob("*.pth"))) or "none"
        raise CheckpointError(
            f"{self._pointer()} names {named!r}, which does not exist. Checkpoints there: "
            f"{present}. Write the name of one into {_POINTER}, or delete it to start anew"
        )

    def tag_last_checkpoint(self, last_filename: str | os.PathLike[str]) -> None:
        """Name ``last_filename`` in ``last_checkpoint``, atomically."""
        with atomic_write(self._pointer(), "w") as file:
            file.write(os.fspath(last_filename))

    def _pointer(self) -> Path:
        return Path(self.save_dir) / _POINTER

    def _read(self, f: str | os.PathLike[str], strict: bool) -> WeightFile:  # noqa: ARG002 - for subclasses
        """What ``f`` stands for, read."""
        names = plain_names(unwrap(self.model).state_dict())
        return read_weight_file(f, names, heads_of=self._heads_of)

    def _resume(self, path: str) -> dict[str, Any]:
        try:
            file = self._fill_model(path, strict=True)
        except CheckpointError as error:
            raise CheckpointError(
                f"cannot resume: {error}\nIf the run in {self.save_dir} is of another model, "
                "choose another OUTPUT_DIR; with MODEL.WEIGHT set to this file, a new run starts "
                "from what fits"
            ) from None
        entries = dict(file.entries)
        states = {key: entries.pop(key, None) for key in _STATES}
        for key, state in states.items():
            if getattr(self, key) is not None and not isinstance(state, dict):
                raise CheckpointError(
                    f"cannot resume from {path}: it has no {key} state. To start from its weights, "
                    f"delete {self._pointer()} and set MODEL.WEIGHT to it"
                )
        try:
            # The optimizer first: the schedule then sets its learning rates.
            if self.optimizer is not None:
                restore_optimizer(self.optimizer, states["optimizer"])
            if self.scheduler is not None:
                known = self.scheduler.state_dict().keys()
                theirs = states["scheduler"].items()
                self.scheduler.load_state_dict({k: v for k, v in theirs if k in known})
        except (CheckpointError, KeyError) as error:
            raise CheckpointError(f"cannot resume from {path}: {error}") from error
        return entries

    def _initialize(self, f: str | os.PathLike[str], strict: bool) -> None:
        file = self._fill_model(os.fspath(f), strict=strict)
        # Only a training could go on from them.
        if "iteration" in file.entries and self.optimizer is not None:
            self.logger.info(
                "Started anew with the weights of the file: its iteration %s and its optimizer "
                "state do not count. To go on with that run, name the file in %s",
                file.entries["iteration"], self._pointer(),
            )  # fmt: skip

    def _fill_model(self, path: str, *, strict: bool) -> WeightFile:
        file = self._read(path, strict)
        # Before the load, which may fail for want of just these.
        file.log_refused(self.logger, path)
        try:
            self.last_report = load_state_dict(
                self.model,
                file.tensors,
                by_suffix=file.is_backbone,
                strict=strict,
                bn_eps=file.bn_eps,
                ignored=file.ignored,
                may_lack=self._may_lack,
            )
        except CheckpointError as error:
            raise CheckpointError(f"{path} ({file.kind}): {error}") from error
        self.last_report.log(self.logger, f"{path} ({file.kind})")
        return file


class DetectronCheckpointer(Checkpointer):
    """Checkpoints of a run whose MODEL.WEIGHT may be a path, a URL or ``catalog://NAME``.

    Args:
        cfg: the configuration; PATHS_CATALOG and MODEL.FRESH_PARTS are read, and what weights
            depend on without showing it (``WeightSettings``), which is written into every
            checkpoint.
        model: see ``Checkpointer``, and so for all that follow.
        categories: the classes by label, from 1. With them every checkpoint is whole: it holds a
            ``ModelDescription``.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        scheduler: LRScheduler | None = None,
        save_dir: str | os.PathLike[str] = "",
        save_to_disk: bool | None = None,
        logger: logging.Logger | None = None,
        *,
        categories: Sequence[Category] = (),
    ) -> None:
        super().__init__(model, optimizer, scheduler, save_dir, save_to_disk, logger)
        self._paths_catalog: str = cfg.PATHS_CATALOG
        self._settings = WeightSettings.from_config(cfg)
        self._heads_of = Convention.from_config(cfg).heads_of
        self._may_lack = tuple(map(str, cfg.MODEL.FRESH_PARTS))
        self._description = ModelDescription.from_config(cfg, categories) if categories else None

    def save(
        self,
        name: str,
        *,
        is_latest: bool = True,
        score_threshold: float | None = None,
        **extra: Any,
    ) -> None:
        """As ``Checkpointer.save``, with what ``DetectronCheckpointer`` says of the model."""
        extra[SETTINGS_ENTRY] = self._settings.by_key()
        if self._description is not None:
            description = replace(self._description, score_threshold=score_threshold)
            extra[DESCRIPTION_ENTRY] = description.as_entry()
        super().save(name, is_latest=is_latest, **extra)

    def _read(self, f: str | os.PathLike[str], strict: bool) -> WeightFile:
        source = find_weight_source(os.fspath(f), self._paths_catalog)
        if source.library is not None:
            check_settings(source, self._settings)
            return source.library.convert(fetch_in_turn(source.name, source.library.fetch))
        is_url = "://" in source.address
        file = super()._read(cache_url(source.address) if is_url else source.address, strict)
        recorded = WeightSettings.from_keys(file.entries.pop(SETTINGS_ENTRY, None))
        theirs = ModelDescription.from_entry(file.entries.pop(DESCRIPTION_ENTRY, None))
        if theirs is not None and not strict:
            file = self._with_own_classes(file, theirs)
        if recorded is not None:
            source = replace(source, settings=recorded, authority="should")
        elif source.settings is None:
            source = replace(source, settings=file.settings, authority="may")
        check_settings(source, self._settings, strict=strict and recorded is not None)
        return file

    def _with_own_classes(self, file: WeightFile, theirs: ModelDescription) -> WeightFile:
        if self._description is None:
            return file
        names = [tuple(one.class_names().values()) for one in (theirs, self._description)]
        if names[0] == names[1]:
            return file
        own = plain_names(unwrap(self.model).state_dict())
        return replace(file, tensors=with_own_classes(file.tensors, own, *names))


def store_score_threshold(path: Path, threshold: float) -> None:
    """Let a checkpoint say from which score on objects are worth showing.

    One that does not describe its model is left as it is.

    Raises:
        CheckpointError: the file is absent, damaged, or would run code.
    """
    content = read_torch_file(path)
    if not isinstance(content, Mapping):
        return
    description = ModelDescription.from_entry(content.get(DESCRIPTION_ENTRY))
    if description is None or description.score_threshold == threshold:
        return
    described = replace(description, score_threshold=threshold).as_entry()
    write_torch_file({**content, DESCRIPTION_ENTRY: described}, path)


def find_last_checkpoint(folder: str | os.PathLike[str]) -> str:
    """Path of the checkpoint from which the run in a folder goes on; "" without one.

    Raises:
        CheckpointError: ``last_checkpoint`` names a file that does not exist.
    """
    return Checkpointer(nn.Identity(), save_dir=folder, save_to_disk=False).get_checkpoint_file()


def remove_solver_states(source: Path, target: Path) -> list[str]:
    """Write the model of a checkpoint to a file of its own; returns the entries left out.

    Raises:
        CheckpointError: the file is absent, damaged, would run code, or has no model; or the
            new one's name has the ending of another format.
    """
    if not source.is_file():
        raise CheckpointError(f"{source}: no such file")
    content = read_torch_file(source)
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        raise CheckpointError(f'{source}: expected a checkpoint with an entry "model"')
    write_torch_file({key: content[key] for key in _SHARED if key in content}, target)
    return [str(key) for key in content if key not in _SHARED]
