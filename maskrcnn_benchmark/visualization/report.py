"""One HTML file that shows how a run went, readable without a network and without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from maskrcnn_benchmark.evaluation.result import (
    METRIC_NAMES,
    EvaluationResult,
    format_percent,
)
from maskrcnn_benchmark.utils.files import atomic_write
from maskrcnn_benchmark.visualization.report_style import STYLE

_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_JPEG_QUALITY = 88


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
        facts: name and value of what is worth seeing at once (time, size of the model, ...).
        notes: sentences that keep the numbers honest (what was trained on, what was not).
        results: split name and its evaluation.
        pictures: contact sheets.
        curves: the loss curves, if there are any.
        config_text: the whole configuration of the run.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    notes: Sequence[str]
    results: Mapping[str, EvaluationResult]
    pictures: Sequence[Picture]
    curves: Picture | None
    config_text: str


def write_report(path: str | Path, report: Report) -> Path:
    """The path of the HTML file written."""
    text = render_report(report)
    with atomic_write(path, "w") as file:
        file.write(text)
    return Path(path)


def render_report(report: Report) -> str:
    """The HTML text of a report."""
    config = f"<pre>{escape(report.config_text)}</pre>\n"
    sections = [
        _header(report),
        _section("Numbers", _metrics(report.results)),
        _section("Pictures", "".join(_figure(picture) for picture in report.pictures)),
        _section("Losses", _figure(report.curves) if report.curves else ""),
        _section("Each category", _per_class(report.results)),
        _section("Configuration", _details("All settings of this run", config)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}</section>\n" if body else ""


def _header(report: Report) -> str:
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n"
        for name, value in report.facts.items()
    )
    notes = "".join(f"<li>{escape(note)}</li>\n" for note in report.notes)
    return (
        f"<header>\n<h1>{escape(report.title)}</h1>\n<p>{escape(report.lead)}</p>\n"
        f'<dl class="facts">\n{facts}</dl>\n'
        + (f'<ul class="notes">\n{notes}</ul>\n' if notes else "")
        + "</header>\n"
    )


def _metrics(results: Mapping[str, EvaluationResult]) -> str:
    rows = [
        [f"{split}: {_TASK_NAMES.get(iou_type, iou_type)}", *map(format_percent, values)]
        for split, result in results.items()
        for iou_type, numbers in result.metrics.items()
        for values in [[numbers.get(name) for name in METRIC_NAMES]]
    ]
    remarks = [
        f"{split}: {line}"
        for split, result in results.items()
        for line in (*result.reason_lines(), *result.notes)
    ]
    explanation = (
        '<p class="fine">COCO protocol, percent. AP averages over IoU 0.50 to 0.95; AP50 and AP75 '
        "ask for one IoU; s, m, l are objects up to 32², up to 96² and over 96² px; AR is recall "
        "with at most 1, 10 and 100 detections a photo.</p>\n"
    )
    items = "".join(f"<li>{escape(remark)}</li>\n" for remark in remarks)
    listed = f'<ul class="fine">\n{items}</ul>\n' if items else ""
    return _table(["", *METRIC_NAMES], rows) + explanation + listed


_TASK_NAMES = {"bbox": "boxes", "segm": "masks"}


def _per_class(results: Mapping[str, EvaluationResult]) -> str:
    blocks = []
    for split, result in results.items():
        iou_types = list(result.per_class)
        names = {
            name: entry["num_gt"]
            for iou_type in iou_types
            for name, entry in result.classes_with_ground_truth(iou_type)
        }
        rows = [
            [name, str(number), *_class_cells(result, name)]
            for name, number in sorted(names.items(), key=lambda item: (-item[1], item[0]))
        ]
        heads = [f"{_TASK_NAMES.get(one, one)} {m}" for one in iou_types for m in ("AP", "AP50")]
        table = _table(["category", "ground truths", *heads], rows)
        blocks.append(_details(f"{split}: {len(rows)} categories", table) if rows else "")
    return "".join(blocks)


def _class_cells(result: EvaluationResult, name: str) -> list[str]:
    entries = [result.per_class[iou_type].get(name) for iou_type in result.per_class]
    return [
        format_percent(entry[metric] if entry else None)
        for entry in entries
        for metric in ("AP", "AP50")
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img src="data:{picture.media_type};base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _details(summary: str, body: str) -> str:
    return f"<details>\n<summary>{escape(summary)}</summary>\n{body}</details>\n"
