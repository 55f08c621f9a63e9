"""Loss curves from the ``metrics.jsonl`` that training writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from maskrcnn_benchmark.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The smoothed curve forgets a change after about this part of all points.
_SMOOTHING_PART = 0.05
# Panels in a row: the fewest that need no more rows than this.
_MAX_ROWS = 2
_PANEL_INCHES = (4.2, 2.7)
_DPI = 130
_RAW_COLOUR = "#9db7d8"
_SMOOTH_COLOUR = "#1f5fae"
_LR_COLOUR = "#b2600f"
_TEXT_COLOUR = "#2b3440"
_GRID_COLOUR = "#e3e7ec"

Record = Mapping[str, Any]


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a ``metrics.jsonl`` file, each with ``iteration``, in that order.

    A resumed run repeats the iterations since its checkpoint: the later record wins. A last line
    that a killed process left unfinished is skipped.

    Raises:
        ValueError: another line is no JSON object with an iteration.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    records: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            records[int(record["iteration"])] = record
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break
            raise ValueError(f"{path}:{number}: not a record of metrics: {line[:80]}") from error
    return [records[iteration] for iteration in sorted(records)]


def loss_names(records: Sequence[Record]) -> list[str]:
    """The losses of the records: the total first, then the others in order of appearance."""
    names = dict.fromkeys(name for record in records for name in record if name.startswith("loss"))
    return sorted(names, key=lambda name: name != "loss")


def smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The exponential moving average of the values, without bias towards its start; same length.

    Values that are not finite are passed over.
    """
    keep = 1.0 - 1.0 / max(1.0, len(values) * _SMOOTHING_PART)
    total = weight = 0.0
    result = np.full(len(values), np.nan)
    for position, value in enumerate(values):
        if math.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1.0
        if weight:
            result[position] = total / weight
    return result


def plot_loss_curves(metrics_path: str | Path, output_path: str | Path, title: str = "") -> Path:
    """The path of the PNG drawn: a panel for each loss (raw and smoothed) and one for the lr.

    Raises:
        ValueError: there is nothing to draw.
    """
    # Here, because it is slow to import, and who only draws detections does not need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_metrics(metrics_path)
    names = loss_names(records)
    if not names:
        raise ValueError(f"{metrics_path} holds no losses")
    panels = [*names, *(["lr"] if any("lr" in record for record in records) else [])]
    num_rows = min(_MAX_ROWS, len(panels))
    num_columns = math.ceil(len(panels) / num_rows)
    size = (num_columns * _PANEL_INCHES[0], num_rows * _PANEL_INCHES[1] + (0.4 if title else 0))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for position, name in enumerate(panels, start=1):
        _draw_panel(figure.add_subplot(num_rows, num_columns, position), records, name)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold", color=_TEXT_COLOUR)
    with atomic_write(output_path) as file:
        canvas.print_png(file)
    return Path(output_path)


def _draw_panel(axes: Axes, records: Sequence[Record], name: str) -> None:
    present = [record for record in records if record.get(name) is not None]
    iterations = [record["iteration"] for record in present]
    values = np.array([float(record[name]) for record in present])
    if name == "lr":
        axes.plot(iterations, values, color=_LR_COLOUR, linewidth=1.6)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.set_ylim(bottom=0)
    else:
        axes.plot(iterations, values, color=_RAW_COLOUR, linewidth=0.9)
        axes.plot(iterations, smoothed(values), color=_SMOOTH_COLOUR, linewidth=1.8)
        _limit_to_the_usual(axes, values)
    axes.set_title(name, fontsize=10, fontweight="bold", loc="left", color=_TEXT_COLOUR)
    axes.set_xlabel("iteration", fontsize=8, color=_TEXT_COLOUR)
    axes.tick_params(labelsize=8, colors=_TEXT_COLOUR)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.grid(color=_GRID_COLOUR, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _limit_to_the_usual(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    """Keep a few huge first values from flattening the rest of the curve."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    usual = float(np.percentile(finite, 97))
    if finite.max() > 2 * usual > 0:
        axes.set_ylim(0, 1.6 * usual)
    elif finite.min() >= 0:
        axes.set_ylim(bottom=0)
