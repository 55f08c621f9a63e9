"""The outcome of one evaluation, with its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple, TypedDict

METRIC_NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
PROPOSALS = "box_proposal"
PROPOSAL_METRIC_NAMES = (
    *("AR@100", "ARs@100", "ARm@100", "ARl@100"),
    *("AR@1000", "ARs@1000", "ARm@1000", "ARl@1000"),
)
KEYPOINTS = "keypoints"
KEYPOINT_METRIC_NAMES = (
    *("AP", "AP50", "AP75", "APm", "APl"),
    *("AR", "AR50", "AR75", "ARm", "ARl"),
)
VOC_BOXES = "voc_bbox"
VOC_METRIC_NAMES = ("AP50", "AP50_07")
NOT_AVAILABLE = "n/a"
_HEADLINE_TASKS = ("segm", KEYPOINTS, "bbox")
_CLASS_COLUMNS = 3


class ClassResult(TypedDict):
    """What one category scored, in percent; ``None`` where it has no ground truth."""

    AP: float | None
    AP50: float | None
    num_gt: int


class Headline(NamedTuple):
    """One number of an evaluation, in percent, and its name, e.g. "segm AP"."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The numbers of one evaluation on one data set.

    Attributes:
        dataset: name of the data set.
        num_images: number of images evaluated.
        metrics: for each IoU type the numbers that ``metric_names`` lists, in percent, or
            ``None`` where a number does not exist.
        reasons: for each IoU type, why the numbers that are ``None`` do not exist.
        per_class: for each IoU type and category name its AP, AP50 and count of ground truths.
        notes: remarks a reader of the numbers should know, e.g. images without predictions.
        backend: which implementation of the COCO protocol computed the numbers.
        score_threshold: from which score on detections are worth showing (``best_f1_threshold``);
            None where that is unknown.
    """

    dataset: str
    num_images: int
    metrics: Mapping[str, Mapping[str, float | None]]
    reasons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, ClassResult]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    backend: str = ""
    score_threshold: float | None = None

    def headline(self) -> Headline | None:
        """The number that models are compared by; None if there is none.

        AP of masks, or else of keypoints or boxes, or what else is the first number of a task.
        """
        tasks = [task for task in _HEADLINE_TASKS if task in self.metrics]
        for task in [*tasks, *self.metrics]:
            name = metric_names(task)[0]
            value = self.metrics[task].get(name)
            if value is not None:
                return Headline(f"{task} {name}", float(value))
        return None

    def table(self) -> str:
        """The numbers as plain text: a row for each IoU type, then what is n/a and why."""
        lines = [f"{self.dataset}: {count(self.num_images, 'image')}, numbers in percent"]
        rows_of: dict[tuple[str, ...], list[list[str]]] = {}
        for iou_type, numbers in self.metrics.items():
            names = metric_names(iou_type)
            cells = [iou_type, *(format_percent(numbers.get(name)) for name in names)]
            rows_of.setdefault(names, []).append(cells)
        for names, rows in rows_of.items():
            lines += align_columns([["", *names], *rows])
        lines += [f"  {line}" for line in self.reason_lines()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def reason_lines(self) -> list[str]:
        """One line for each reason why numbers are n/a, naming all the numbers it explains."""
        names_of: dict[str, list[str]] = {}
        for iou_type, reasons in self.reasons.items():
            for metric, reason in reasons.items():
                names_of.setdefault(reason, []).append(f"{iou_type} {metric}")
        return [f"n/a: {', '.join(names)}: {reason}" for reason, names in names_of.items()]

    def per_class_table(self, iou_type: str) -> str:
        """AP, AP50 and number of ground truths of each category that has any, best AP first.

        The list runs down the first of ``_CLASS_COLUMNS`` columns, then down the next.

        Raises:
            ValueError: nothing was evaluated for ``iou_type``.
        """
        if iou_type not in self.per_class:
            known = ", ".join(self.per_class) or "none"
            raise ValueError(f"per_class_table: iou_type must be one of {known}, got {iou_type!r}")
        head = [f"{iou_type} category", "AP", "AP50", "truths"]
        cells = [
            [name, format_percent(entry["AP"]), format_percent(entry["AP50"]), str(entry["num_gt"])]
            for name, entry in self.classes_with_ground_truth(iou_type)
        ]
        num_rows = -(-len(cells) // _CLASS_COLUMNS)
        blocks = [
            align_columns([head, *cells[start : start + num_rows]])
            for start in range(0, len(cells), max(1, num_rows))
        ]
        lines = ["  |  ".join(parts).rstrip() for parts in zip_longest(*blocks, fillvalue="")]
        num_without = len(self.per_class[iou_type]) - len(cells)
        if num_without:
            lines.append(f"  {count(num_without, 'category', 'categories')} without ground truth")
        return "\n".join(lines)

    def classes_with_ground_truth(self, iou_type: str) -> list[tuple[str, ClassResult]]:
        """Name and result of each category that has ground truth, best AP first, then by name."""
        entries = self.per_class.get(iou_type, {})
        present = [(name, entry) for name, entry in entries.items() if entry["num_gt"] > 0]
        return sorted(present, key=lambda item: (-(item[1]["AP"] or 0.0), item[0]))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists and numbers; n/a is ``null`` with its reason."""
        return {"unit": "percent", **asdict(self), "notes": list(self.notes)}


def metric_names(iou_type: str) -> tuple[str, ...]:
    """The numbers of an IoU type, in their order.

    Args:
        iou_type: ``"bbox"``, ``"segm"``, ``"keypoints"``, ``"box_proposal"`` or ``"voc_bbox"``.
    """
    special = {
        PROPOSALS: PROPOSAL_METRIC_NAMES,
        KEYPOINTS: KEYPOINT_METRIC_NAMES,
        VOC_BOXES: VOC_METRIC_NAMES,
    }
    return special.get(iou_type, METRIC_NAMES)


def count(number: int, singular: str, plural: str = "") -> str:
    """``number`` with the right form of its noun, e.g. ``"1 image"`` or ``"2 images"``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def format_percent(value: float | None) -> str:
    """A number with one decimal, or ``n/a``."""
    return NOT_AVAILABLE if value is None else f"{value:.1f}"


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Equally long rows as lines whose first column is aligned left and the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
