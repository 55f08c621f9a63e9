"""docs/comparison.md and its picture, made from docs/comparison.json and MODEL_ZOO.json."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.inference.systems import System, read_systems
from docs.comparison_plot import Panel, Point, draw

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "comparison.json"
PAGE = DOCS / "comparison.md"
PICTURE = DOCS / "images" / "comparison.png"
PLAIN = "plain"
OWN_SPLIT = "test-dev"
COMMON_GPU = "Titan Xp"

Entries = Mapping[str, Mapping[str, Any]]

HEADER = """\
# Accuracy against time

<!-- Made from docs/comparison.json and MODEL_ZOO.json by docs/generate.py. -->

The systems that CenterMask is compared with, all on one code base.

* **Mask AP was published by the authors of the models. It was not measured here**: that takes
  COCO and their files ([model zoo](model_zoo.md)).
* **The times on the left were measured here, on a CPU, with random weights**: what is found means
  nothing, the work is that of a trained model. They run from the bytes of a JPEG file of
  640 x 480 px to the run lengths of 100 masks, each system at its own test size, a few systems and
  their modes taking turns in one process.
* **The times on the right were published**, with the GPU that they were taken on. No GPU was at
  hand to repeat them.

![Published mask AP against time: measured here on a CPU, and as published](images/comparison.png)

Filled: AP on test-dev; outlined: on val2017, where none on test-dev was published. Lines join the
systems of a family.
"""

REPEAT = """
## Again

```bash
python -m benchmarks inference --zoo --minutes 6   # goes on where the last call ended
python -m benchmarks inference --zoo --only yolact --modes plain fast
python -m benchmarks inference --zoo --write       # puts the numbers here, and draws
python docs/generate.py                            # draws again
```

A system is a row of `MODEL_ZOO.json` with the key `system`: one more row joins the table and the
picture. The modes are those of [performance](performance.md). In every model 1000 predictions
exceed the threshold, and 100 objects get masks (RetinaMask's authors test 50). The objects of
random weights are of other sizes than real ones, which changes the time to paste and encode masks,
a few ms.
"""


def fastest(entry: Mapping[str, Any]) -> str:
    """The mode with the smallest median."""
    modes: Mapping[str, Any] = entry["modes"]
    return min(modes, key=lambda mode: modes[mode]["median"])


def page(systems: Sequence[System], entries: Entries) -> str:
    """The text of docs/comparison.md."""
    parts = [HEADER, "\n", *_table(systems, entries), "\n", *_about(systems, entries), REPEAT]
    return "".join(parts)


def _table(systems: Sequence[System], entries: Entries) -> Iterable[str]:
    heads = ("system", "published mask AP", "on", "input here, px", "GFLOPs measured here",
             "plain, ms measured here (90 %)", "fastest mode, ms measured here (90 %)", "mode",
             "published ms", "on GPU")  # fmt: skip
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for system in systems:
        entry = entries.get(system.name)
        # Work is counted for the padded size of the configuration, not for this photo's.
        work = f"{system.multiply_adds / 1e9:.0f}" if system.multiply_adds else "-"
        cells = [system.name, f"{system.mask_ap:.1f}", system.split]
        if entry is None:
            cells += ["-", work, "-", "-", "-"]
        else:
            mode = fastest(entry)
            size = "{1} x {0}".format(*entry["input_hw"])
            cells += [size, work, _time(entry, PLAIN), f"**{_time(entry, mode)}**", mode]
        cells += [f"{system.published_ms:g}" if system.published_ms else "-", system.gpu or "-"]
        yield f"| {' | '.join(cells)} |\n"


def _time(entry: Mapping[str, Any], mode: str) -> str:
    time = entry["modes"].get(mode)
    return f"{time['median']:.0f} ({time['p90']:.0f})" if time else "-"


def _about(systems: Sequence[System], entries: Entries) -> Iterable[str]:
    """What the numbers are of, and what is not there."""
    measured = [entries[system.name] for system in systems if system.name in entries]
    for place in sorted({_place(entry) for entry in measured}):
        yield f"Measured on {place}.\n"
    if measured:
        products = [ms for entry in measured for ms in entry["product_ms"]]
        loads = [float(entry["load"].split()[-1]) for entry in measured]
        yield (
            f"A product of two matrices of 2048 x 2048 took {min(products):.0f} to "
            f"{max(products):.0f} ms before and after the groups, and the load average was "
            f"{min(loads):.1f} to {max(loads):.1f} (2 is this measurement alone): small processes "
            "of others may have run beside it.\n"
        )
    yield from _missing(systems, entries)


def _place(entry: Mapping[str, Any]) -> str:
    conditions = entry["conditions"]
    return (
        f"{conditions['machine'].rstrip('.')}; {conditions['threads']} threads, "
        f"{conditions['rounds']} turns each, {entry['when']}"
    )


def _missing(systems: Sequence[System], entries: Entries) -> Iterable[str]:
    absent = [system.name for system in systems if system.name not in entries and system.config]
    if absent:
        yield f"\nNot timed yet: {', '.join(absent)}.\n"
    unknown = [system.name for system in systems if system.config is None]
    if unknown:
        names = ", ".join(unknown)
        yield f"\nNot timed, as no configuration of this package builds them: {names}.\n"
    for system in systems:
        entry = entries.get(system.name, {"left_out": {}, "modes": {}})
        for mode, reason in entry["left_out"].items():
            which = f"{system.name} was not timed in the mode {mode}, with these weights"
            yield f"\n{which}: {reason}.\n"
        numbers = {mode: sum(each["masks"]) for mode, each in entry["modes"].items()}
        others = [f"{number} in {mode}" for mode, number in numbers.items() if number != 100]
        if others:
            yield f"\n{system.name} found other than 100 masks: {', '.join(others)}.\n"


def panels(systems: Sequence[System], entries: Entries) -> list[Panel]:
    """What the picture shows."""
    families = [system.family for system in systems]
    names = {
        system: f"{system.family} {system.label}"
        if families.count(system.family) == 1
        else system.label
        for system in systems
    }
    here, published = [], []
    for system in systems:
        is_hollow = system.split != OWN_SPLIT
        entry = entries.get(system.name)
        if entry:
            mode = fastest(entry)
            name = f"{names[system]} ({PLAIN})" if mode == PLAIN else names[system]
            ms = entry["modes"][mode]["median"]
            here.append(Point(system.family, name, ms, system.mask_ap, is_hollow))
        if system.published_ms:
            gpu = "" if system.gpu == COMMON_GPU else f" ({system.gpu})"
            label = f"{names[system]}{gpu}"
            point = Point(system.family, label, system.published_ms, system.mask_ap, is_hollow)
            published.append(point)
    return [
        Panel("Time measured here: CPU, two threads, fastest mode, random weights", here),
        Panel(f"Time as published: {COMMON_GPU}, where no other GPU is named", published),
    ]


def read() -> tuple[list[System], Entries]:
    """The systems, and what was measured of them."""
    entries: Entries = json.loads(RESULTS.read_text(encoding="utf-8"))
    return read_systems(), entries


def comparison() -> str:
    """The text of docs/comparison.md, of the numbers that were kept."""
    return page(*read())


def fingerprint(systems: Sequence[System], entries: Entries) -> str:
    """What the picture holds of the numbers that it shows."""
    shown = json.dumps(panels(systems, entries))
    return hashlib.sha256(shown.encode()).hexdigest()


def draw_comparison(path: Path = PICTURE) -> None:
    """Draw the numbers that were kept."""
    systems, entries = read()
    draw(panels(systems, entries), path, fingerprint(systems, entries))
