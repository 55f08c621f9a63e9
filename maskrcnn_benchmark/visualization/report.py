"""One HTML file that shows how a run went, readable without a network and without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from maskrcnn_benchmark.evaluation.result import METRIC_NAMES, EvaluationResult, format_percent
from maskrcnn_benchmark.utils.files import atomic_write

_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_JPEG_QUALITY = 88
_TASK_NAMES = {"bbox": "boxes", "segm": "masks"}


class Picture(NamedTuple):
    """A picture of a report.

    Attributes:
        data: the bytes of its file.
        media_type: ``"image/png"`` or ``"image/jpeg"``.
        caption: shown below it, and instead of it where pictures are off.
    """

    data: bytes
    media_type: str
    caption: str

    @property
    def address(self) -> str:
        """A ``data:`` URL, which needs no file beside the report."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"

    @classmethod
    def from_file(cls, path: str | Path, caption: str) -> Picture:
        """The picture in a PNG or JPEG file.

        Raises:
            ValueError: the file has another suffix.
        """
        path = Path(path)
        media_type = _MEDIA_TYPES.get(path.suffix.lower())
        if media_type is None:
            known = ", ".join(_MEDIA_TYPES)
            raise ValueError(f"a picture of a report must end in {known}, got {path}")
        return cls(path.read_bytes(), media_type, caption)

    @classmethod
    def from_photo(cls, image: Image.Image, caption: str) -> Picture:
        """The image as a JPEG, which is much smaller than a PNG where there are photos in it."""
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return cls(buffer.getvalue(), "image/jpeg", caption)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report shows, from top to bottom.

    Attributes:
        title: headline.
        lead: a sentence below it.
        opening: the picture that the page opens with.
        facts: name and value of what is worth seeing at once (time, size of the model, ...).
        notes: sentences that keep the numbers honest (what was trained on, what was not).
        results: split name and its evaluation.
        pictures: contact sheets.
        curves: the loss curves, if there are any.
        config_text: the whole configuration of the run.
        next_steps: what to try next, and the command for it.
    """

    title: str
    lead: str
    opening: Picture
    facts: Mapping[str, str]
    notes: Sequence[str]
    results: Mapping[str, EvaluationResult]
    pictures: Sequence[Picture]
    curves: Picture | None
    config_text: str
    next_steps: Mapping[str, str]


def write_report(path: str | Path, report: Report) -> Path:
    """The path of the HTML file written."""
    text = render_report(report)
    with atomic_write(path, "w") as file:
        file.write(text)
    return Path(path)


def render_report(report: Report) -> str:
    """The HTML text of a report."""
    looks = Environment(
        loader=PackageLoader("maskrcnn_benchmark.visualization", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    results = report.results.items()
    categories = {split: _category_table(result) for split, result in results}
    return looks.get_template("report.html.jinja").render(
        report=report,
        metrics=_metric_table(report.results),
        remarks=[
            f"{split}: {line}"
            for split, result in results
            for line in (*result.reason_lines(), *result.notes)
        ],
        categories={split: table for split, table in categories.items() if table.rows},
    )


class _Table(NamedTuple):
    heads: list[str]
    rows: list[list[str]]


def _metric_table(results: Mapping[str, EvaluationResult]) -> _Table:
    rows = [
        [f"{split}: {_TASK_NAMES.get(task, task)}"]
        + [format_percent(numbers.get(name)) for name in METRIC_NAMES]
        for split, result in results.items()
        for task, numbers in result.metrics.items()
    ]
    return _Table(["", *METRIC_NAMES], rows)


def _category_table(result: EvaluationResult) -> _Table:
    columns = [(task, metric) for task in result.per_class for metric in ("AP", "AP50")]
    counts = {
        name: entry["num_gt"]
        for task in result.per_class
        for name, entry in result.classes_with_ground_truth(task)
    }
    rows = []
    for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        entries = [of_task.get(name) for of_task in result.per_class.values()]
        numbers = [format_percent(e[m] if e else None) for e in entries for m in ("AP", "AP50")]
        rows.append([name, str(number), *numbers])
    heads = [f"{_TASK_NAMES.get(task, task)} {metric}" for task, metric in columns]
    return _Table(["category", "ground truths", *heads], rows)
