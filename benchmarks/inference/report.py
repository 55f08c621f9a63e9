"""The tables of docs/performance.md."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.inference.contenders import SUBJECTS
from benchmarks.inference.stages import STAGES

Entry = Mapping[str, Any]


def page(entries: Mapping[str, Entry]) -> str:
    """All tables in Markdown, of entries by "model part ..."."""
    sections = {"whole": _whole, "dense": _dense, "memory": _memory}
    lines: list[str] = []
    for entry in sorted(entries.values(), key=_place):
        lines += ["", *sections[entry["part"]](entry)]
    return "\n".join(lines).strip()


def _place(entry: Entry) -> tuple[int, int, int]:
    parts, models = ("whole", "dense", "memory"), list(SUBJECTS)
    return parts.index(entry["part"]), models.index(entry["model"]), entry["batch"]


def _about(entry: Entry, what: str) -> list[str]:
    title = SUBJECTS[entry["model"]].title
    batch = "" if entry["batch"] == 1 else f", {entry['batch']} photos at once"
    machine = f"{entry['machine']} {entry['threads']} threads, {entry['load']}."
    return [f"**{title}{batch}: {what}** ({machine})", ""]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _whole(entry: Entry) -> Iterator[str]:
    results = entry["result"]
    first = next(iter(results.values()))["median"]
    yield from _about(entry, "photo to run lengths, ms")
    names = [each for each in STAGES if any(each in one["stages"] for one in results.values())]
    yield from _head(["", "median", "90 %", f"of {next(iter(results))}'s", "masks", *names])
    for name, result in results.items():
        stages = [result["stages"].get(each, {}).get("median", "") for each in names]
        ratio = f"**{result['median'] / first:.2f}**"
        masks = sum(result["masks"])
        yield _row([name, result["median"], result["p90"], ratio, masks, *stages])


def _dense(entry: Entry) -> Iterator[str]:
    result = entry["result"]
    times = result["times"]
    batch, _, height, width = result["input"]
    size = f"{batch} x {height} x {width}, {result['gflop']} GFLOP"
    yield from _about(entry, f"backbone, pyramid and head alone, {size}")
    first = next(iter(times.values()))["median"]
    yield from _head(["", "median, ms", "90 %", f"of {next(iter(times))}'s", "GFLOP/s"])
    for name, time in times.items():
        ratio = "" if name.startswith("ceiling") else f"**{time['median'] / first:.2f}**"
        yield _row([name, time["median"], time["p90"], ratio, time["gflops"]])


def _memory(entry: Entry) -> Iterator[str]:
    yield from _about(entry, "peak memory beyond the loaded model, a photo of 12 megapixels, MB")
    yield from _head(["mode", "dense part alone", "photo to run lengths of 100 masks", "ratio"])
    for mode, result in entry["result"].items():
        yield _row([mode, result["network"], result["whole"], f"**{result['ratio']:.2f}**"])
