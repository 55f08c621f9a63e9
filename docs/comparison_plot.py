"""The picture of docs/comparison.md: published accuracy against time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from maskrcnn_benchmark.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people who are colour-blind tell apart (Okabe and Ito), each with a marker.
_STYLES = (
    ("#0072B2", "o"),
    ("#D55E00", "D"),
    ("#009E73", "s"),
    ("#CC79A7", "^"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
    ("#7F7F7F", "*"),
)
_TEXT_COLOUR = "#2b3440"
_GRID_COLOUR = "#e3e7ec"
_INCHES = (13.0, 6.8)
_DPI = 120
_LABEL_SIZE = 8
_DARKENING = 0.7
# Where a label may lie from its point, in points of 1/72 inch, the best first; then farther away.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (7, 13, 21, 30, 42)
_NEAR = 13
"""Up to so far a label needs no line to its point."""
SOURCE = "Source"
"""The text of the file that says what it was drawn from."""


class Point(NamedTuple):
    """A system in a panel.

    Attributes:
        family: its series.
        label: beside the point.
        ms: time of an image.
        ap: mask AP in percent.
        is_hollow: drawn as an outline.
    """

    family: str
    label: str
    ms: float
    ap: float
    is_hollow: bool


class Panel(NamedTuple):
    """Systems whose times are of one kind.

    Attributes:
        title: what the times are.
        points: the systems.
    """

    title: str
    points: Sequence[Point]


def draw(panels: Sequence[Panel], path: Path, source: str) -> None:
    """Write the PNG: a panel beside the other, families as lines, every point with its label.

    Args:
        panels: from left to right.
        path: of the file.
        source: kept in the file, to tell whether it is fresh.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = make_figure(panels)
    with atomic_write(path) as file:
        FigureCanvasAgg(figure).print_png(file, metadata={SOURCE: source, "Software": None})


def make_figure(panels: Sequence[Panel]) -> Figure:
    """The picture, whose labels lie beside one another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.95, bottom=0.13, wspace=0.12)
    families = list(dict.fromkeys(point.family for panel in panels for point in panel.points))
    if len(families) > len(_STYLES):
        raise ValueError(f"the picture has {len(_STYLES)} styles, got {len(families)} families")
    styles = dict(zip(families, _STYLES, strict=False))
    handles: dict[str, Any] = {}
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        _set_up(axes, panel)
        for family, (colour, marker) in styles.items():
            points = [point for point in panel.points if point.family == family]
            if points:
                handles[family] = _draw_family(axes, points, colour, marker)
        _place_labels(axes, panel.points, {name: style[0] for name, style in styles.items()})
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles),
                  frameon=False, fontsize=9, labelcolor=_TEXT_COLOUR)  # fmt: skip
    return figure


def _set_up(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullLocator

    axes.set_xscale("log")
    times, scores = [point.ms for point in panel.points], [point.ap for point in panel.points]
    if times:
        axes.set_xlim(min(times) / 1.35, max(times) * 1.45)
        axes.set_ylim(min(scores) - 1.5, max(scores) + 1.5)
    axes.set_title(panel.title, fontsize=10.5, color=_TEXT_COLOUR, loc="left")
    axes.set_xlabel("ms an image (logarithmic)", fontsize=9, color=_TEXT_COLOUR)
    axes.set_ylabel("mask AP on COCO, published, %", fontsize=9, color=_TEXT_COLOUR)
    ticks = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MultipleLocator(2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(colors=_TEXT_COLOUR, labelsize=8)
    axes.grid(color=_GRID_COLOUR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID_COLOUR)


def _draw_family(axes: Axes, points: Sequence[Point], colour: str, marker: str) -> object:
    """What stands for the family in the legend."""
    in_order = sorted(points, key=lambda point: point.ms)
    times, scores = [point.ms for point in in_order], [point.ap for point in in_order]
    axes.plot(times, scores, color=colour, linewidth=1.2, alpha=0.35)
    for point in in_order:
        axes.plot([point.ms], [point.ap], linestyle="", marker=marker, markersize=7.5,
                  markeredgecolor=colour, markeredgewidth=1.4,
                  markerfacecolor="white" if point.is_hollow else colour)  # fmt: skip
    handle: object = axes.plot([], [], color=colour, marker=marker, markersize=7)[0]
    return handle


def _place_labels(axes: Axes, points: Sequence[Point], colours: dict[str, str]) -> None:
    """Write each label where it covers neither a point nor another label, near ones first."""
    from matplotlib.patheffects import withStroke

    halo = withStroke(linewidth=2.5, foreground="white")
    figure = axes.get_figure()
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    places = [tuple(axes.transData.transform((point.ms, point.ap))) for point in points]
    taken = [_square(x, y, 6 * scale) for x, y in places]
    for point, (x, y) in sorted(zip(points, places, strict=True), key=lambda each: each[1]):
        colour = _darker(colours[point.family])
        text = axes.annotate(point.label, (point.ms, point.ap), xytext=(0, 0), color=colour,
                             textcoords="offset points", fontsize=_LABEL_SIZE,
                             path_effects=[halo])  # fmt: skip
        size = text.get_window_extent(renderer)
        box, offset, distance = _free_place((x, y), (size.width, size.height), taken, frame, scale)
        text.set_position(offset)
        taken.append(box)
        if distance > _NEAR:
            nearest = (min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3]))
            ends = axes.transData.inverted().transform([(x, y), nearest])
            axes.plot(*zip(*ends, strict=True), color=colour, linewidth=0.6)


Box: TypeAlias = tuple[float, float, float, float]


def _darker(colour: str) -> tuple[float, float, float]:
    """A colour that can be read on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = (_DARKENING * part for part in to_rgb(colour))
    return red, green, blue


def _free_place(
    place: tuple[float, float],
    size: tuple[float, float],
    taken: Sequence[Box],
    frame: Any,
    scale: float,
) -> tuple[Box, tuple[float, float], float]:
    """(box, px; its lower left corner from the point and its distance, points) of a label.

    The place is the nearest that is free, or of none the one that covers least.
    """
    found = []
    for distance in _DISTANCES:
        for right, up in _DIRECTIONS:
            left = right * distance * scale - (size[0] * (1 - right) / 2)
            below = up * distance * scale - (size[1] * (1 - up) / 2)
            box = (place[0] + left, place[1] + below,
                   place[0] + left + size[0], place[1] + below + size[1])  # fmt: skip
            outside = box[0] < frame.x0 or box[2] > frame.x1 + 6 or box[1] < frame.y0
            cost = sum(overlap(box, other) for other in taken) + 1e6 * outside
            found.append((cost, (box, (left / scale, below / scale), distance)))
            if cost == 0:
                return found[-1][1]
    return min(found, key=lambda each: each[0])[1]


def _square(x: float, y: float, half: float) -> Box:
    return x - half, y - half, x + half, y + half


def overlap(first: Iterable[float], second: Iterable[float]) -> float:
    """Area that two boxes (x1, y1, x2, y2) have in common."""
    (ax, ay, bx, by), (cx, cy, dx, dy) = first, second
    return max(0.0, min(bx, dx) - max(ax, cx)) * max(0.0, min(by, dy) - max(ay, cy))
