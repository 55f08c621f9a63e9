"""What a weight file holds, and what became of its tensors in words a user can act on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from maskrcnn_benchmark.config.errors import UserError
from maskrcnn_benchmark.config.weight_settings import WeightSettings

if TYPE_CHECKING:
    # Tools name this module's error before they need PyTorch.
    from torch import Tensor

_NAMES_SHOWN = 8
# Deep enough to tell ``roi_heads.mask`` from ``roi_heads.maskiou``.
_GROUP_DEPTH = 2


class CheckpointError(UserError):
    """The error of a weight file that cannot be used: its text names the file and the way out."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        tensors: name to tensor, on the CPU; of a backbone, our name inside its body.
        kind: what it is, in words.
        is_backbone: whether its names are those inside a backbone, so that they match by suffix.
        bn_eps: epsilon of the batch norms it was trained with, 0 where none is to be added.
        ignored: names of the file that no detector needs.
        entries: whatever a checkpoint holds beside its model.
        settings: what weights of this kind are trained with, None if that varies.
        refused: reason -> names, as in the file, that mean something else here.
    """

    tensors: dict[str, Tensor]
    kind: str
    is_backbone: bool = False
    bn_eps: float = 0.0
    ignored: tuple[str, ...] = ()
    entries: dict[str, Any] = field(default_factory=dict)
    settings: WeightSettings | None = None
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def log_refused(self, logger: logging.Logger, source: str) -> None:
        """Write a warning for each reason that speaks against a part of the file."""
        for reason, names in self.refused.items():
            logger.warning("%s: not taken: %s. Because: %s", source, summarize(names), reason)


class ShapeMismatch(NamedTuple):
    """One tensor that file and model both have, with different shapes."""

    name: str
    shape_in_file: tuple[int, ...]
    shape_in_model: tuple[int, ...]

    @property
    def changed_size(self) -> tuple[int, int] | None:
        """Sizes in file and model of the one dimension that differs, None if several do."""
        if len(self.shape_in_file) != len(self.shape_in_model):
            return None
        pairs = zip(self.shape_in_file, self.shape_in_model, strict=True)
        changed = [pair for pair in pairs if pair[0] != pair[1]]
        return changed[0] if len(changed) == 1 else None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The fate of every tensor of a load; the names are those of the model's state dict.

    Attributes:
        loaded: filled from the file.
        missing: in the model, not in the file; they kept the values they had.
        unexpected: in the file (under its names), not in the model; they were not used.
        shape_mismatch: in both, of different shapes; the model's kept the values they had.
        outside: in the model, beside the backbone to which the whole file belongs.
        ignored: in the file and of no use to any detector (an ImageNet classifier, counters).
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shape_mismatch: tuple[ShapeMismatch, ...] = ()
    outside: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether file and model held the same tensors."""
        return not (self.missing or self.unexpected or self.shape_mismatch or self.outside)

    def problems(self) -> list[str]:
        """One paragraph for each kind of disagreement between file and model."""
        table = mismatch_table(self.shape_mismatch)
        kinds = (
            (self.shape_mismatch, f"of another shape, not loaded:\n{table}"),
            (self.missing, f"missing in the file: {summarize(self.missing)}"),
            (self.unexpected, f"of the file unknown to the model: {summarize(self.unexpected)}"),
        )
        return [f"{_count(tensors)} {text}" for tensors, text in kinds if tensors]

    def log(self, logger: logging.Logger, source: str) -> None:
        """Write the report: one line of information, and a warning for each disagreement.

        ``source`` is what was loaded, in words; full lists of names are written at level DEBUG.
        """
        left = len(self.missing) + len(self.shape_mismatch) + len(self.outside)
        total = len(self.loaded) + left
        logger.info("Loaded %d of the model's %d tensors from %s", len(self.loaded), total, source)
        if self.outside:
            logger.info("Only a backbone; untouched: %s", summarize(self.outside))
        if self.ignored:
            logger.info("Not needed from it: %s", summarize(self.ignored))
        for paragraph in self.problems():
            logger.warning("%s: %s", source, paragraph)
        for title in ("missing", "unexpected"):
            logger.debug("All %s tensors: %s", title, ", ".join(getattr(self, title)) or "none")


def summarize(names: tuple[str, ...]) -> str:
    """The names themselves when they are few, otherwise counts by the start of the name."""
    if len(names) <= _NAMES_SHOWN:
        return ", ".join(names)
    groups = Counter(".".join(name.split(".")[:_GROUP_DEPTH]) for name in names)
    shown = [f"{group}.* ({count})" for group, count in groups.most_common(_NAMES_SHOWN)]
    hidden = len(groups) - len(shown)
    return ", ".join(shown) + (f" and {hidden} more groups" if hidden else "")


def mismatch_table(mismatches: tuple[ShapeMismatch, ...]) -> str:
    """An aligned text table: name, shape in the file, shape in the model."""
    rows = [("tensor", "in the file", "in the model")]
    rows += [(m.name, _shape(m.shape_in_file), _shape(m.shape_in_model)) for m in mismatches]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _count(items: tuple[object, ...]) -> str:
    return f"{len(items)} tensor" + ("" if len(items) == 1 else "s")
