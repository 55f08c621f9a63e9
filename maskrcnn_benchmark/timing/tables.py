"""Times in Markdown."""

from collections.abc import Iterator, Sequence
from typing import Any

from maskrcnn_benchmark.timing.stages import STAGES
from maskrcnn_benchmark.timing.turns import CEILING, Result


def table_row(cells: Sequence[object]) -> str:
    """A row."""
    return f"| {' | '.join(map(str, cells))} |"


def table_head(cells: Sequence[str]) -> list[str]:
    """The rows that a table begins with."""
    return [table_row(cells), "|" + "---|" * len(cells)]


def whole_table(results: Result) -> Iterator[str]:
    """The rows of what ``time_whole`` gives; the first is what others are compared with."""
    first = next(iter(results.values()))["median"]
    names = [each for each in STAGES if any(each in one["stages"] for one in results.values())]
    heads = ["", "median", "90 %", f"of {next(iter(results))}'s", "masks", *names]
    yield from table_head(heads)
    for name, result in results.items():
        stages = [result["stages"].get(each, {}).get("median", "") for each in names]
        ratio = f"**{result['median'] / first:.2f}**"
        masks = sum(result["masks"])
        yield table_row([name, result["median"], result["p90"], ratio, masks, *stages])


def describe_input(result: Result) -> str:
    """Size and work of what ``time_dense`` was given."""
    batch, _, height, width = result["input"]
    return f"{batch} x {height} x {width}, {result['gflop']} GFLOP"


def dense_table(result: Result) -> Iterator[str]:
    """The rows of what ``time_dense`` gives."""
    times: dict[str, Any] = result["times"]
    first = next(iter(times.values()))["median"]
    yield from table_head(["", "median, ms", "90 %", f"of {next(iter(times))}'s", "GFLOP/s"])
    for name, time in times.items():
        ratio = "" if name.startswith(CEILING) else f"**{time['median'] / first:.2f}**"
        yield table_row([name, time["median"], time["p90"], ratio, time["gflops"]])
