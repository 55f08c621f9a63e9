"""The tables of docs/performance.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.inference.contenders import SUBJECTS
from maskrcnn_benchmark.timing.tables import (
    dense_table,
    describe_input,
    table_head,
    table_row,
    whole_table,
)

Entry = Mapping[str, Any]


def page(entries: Mapping[str, Entry]) -> str:
    """All tables in Markdown, of entries by "model part ..."."""
    sections = {"whole": _whole, "exports": _exports, "dense": _dense, "memory": _memory}
    lines: list[str] = []
    for entry in sorted(entries.values(), key=_place):
        lines += ["", *sections[entry["part"]](entry)]
    return "\n".join(lines).strip()


def _place(entry: Entry) -> tuple[int, int, int]:
    parts, models = ("whole", "exports", "dense", "memory"), list(SUBJECTS)
    return parts.index(entry["part"]), models.index(entry["model"]), entry["batch"]


def _about(entry: Entry, what: str) -> list[str]:
    title = SUBJECTS[entry["model"]].title
    batch = "" if entry["batch"] == 1 else f", {entry['batch']} photos at once"
    machine = f"{entry['machine']} {entry['threads']} threads, {entry['load']}."
    return [f"**{title}{batch}: {what}** ({machine})", ""]


def _whole(entry: Entry) -> Iterator[str]:
    yield from _about(entry, "photo to run lengths, ms")
    yield from whole_table(entry["result"])


def _exports(entry: Entry) -> Iterator[str]:
    yield from _about(entry, "exported files beside the modes, photo to run lengths, ms")
    yield from whole_table(entry["result"])


def _dense(entry: Entry) -> Iterator[str]:
    size = describe_input(entry["result"])
    yield from _about(entry, f"backbone, pyramid and head alone, {size}")
    yield from dense_table(entry["result"])


def _memory(entry: Entry) -> Iterator[str]:
    yield from _about(entry, "peak memory beyond the loaded model, a photo of 12 megapixels, MB")
    heads = ["mode", "dense part alone", "photo to run lengths of 100 masks", "ratio"]
    yield from table_head(heads)
    for mode, result in entry["result"].items():
        cells = [mode, result["network"], result["whole"], f"**{result['ratio']:.2f}**"]
        yield table_row(cells)
