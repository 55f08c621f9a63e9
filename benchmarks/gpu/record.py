"""What a part of the run writes down, and the table of all of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        part: the part that measured it.
        work: what was done.
        value: what came out, with its unit.
        peer: what it is compared with; empty if with nothing.
        peer_value: what came out there.
        note: how they compare, or what went wrong.
    """

    part: str
    work: str
    value: str
    peer: str = ""
    peer_value: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a part ended.

    Attributes:
        part: its name.
        state: "done", or what went wrong.
        seconds: how long it took.
        limit: how long it might have taken, s.
    """

    part: str
    state: str
    seconds: float
    limit: float


class Notebook:
    """The rows of one part, each on the disk as soon as it is known.

    A part that is stopped keeps what it had found.

    Args:
        part: its name.
        folder: where its file lies.
    """

    def __init__(self, part: str, folder: Path) -> None:
        self.part = part
        self.path = folder / f"{part}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, work: str, value: str, **rest: str) -> None:
        """Write a row down, and show it."""
        row = Row(self.part, work, value, **rest)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print("  ".join(filter(None, asdict(row).values())), flush=True)

    def rows(self) -> list[Row]:
        """What was written so far; a line that was cut off is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines()
        return [Row(**json.loads(line)) for line in lines if line.endswith("}")]


def page(facts: Mapping[str, str], outcomes: Sequence[Outcome], rows: Sequence[Row]) -> str:
    """The whole run in Markdown: the machine, how the parts ended, the table."""
    lines = ["# A run on a GPU", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += ["", "| part | ended | seconds | of |", "|---|---|---|---|"]
    lines += [f"| {o.part} | {o.state} | {o.seconds:.0f} | {o.limit:.0f} |" for o in outcomes]
    lines += ["", "| part | work | result | compared with | its result | |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows:
        cells = [cell.replace("|", "/").replace("\n", " ") for cell in asdict(row).values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_report(
    folder: Path, facts: Mapping[str, str], outcomes: Sequence[Outcome], rows: Sequence[Row]
) -> str:
    """The page, after it and the same as JSON were written to ``folder``."""
    text = page(facts, outcomes, rows)
    (folder / "report.md").write_text(text)
    whole = {
        "facts": dict(facts),
        "parts": [asdict(outcome) for outcome in outcomes],
        "rows": [asdict(row) for row in rows],
    }
    (folder / "report.json").write_text(json.dumps(whole, indent=2) + "\n")
    return text
