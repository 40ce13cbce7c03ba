"""Small drawings: matplotlib makes the geometry, the page's style sheet makes the colours.

Every panel is a figure of its own, so that the page can lay the panels out for a wide screen or a phone and the text
never shrinks below reading size. Figures are drawn in placeholder colours that become CSS variables, so they follow the
light or dark scheme of the reader. The same input gives the same bytes: fixed hash salt, no date, no random ids.
"""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, FAINT, RULE, ACCENT, GHOST = "#010101", "#020202", "#030303", "#040404", "#060606"
SOURCE = [f"#0501{index:02x}" for index in range(10)]
VARIABLES = {INK: "--ink", FAINT: "--faint", RULE: "--rule", ACCENT: "--accent", GHOST: "--ghost"} | {
    colour: f"--source-{index}" for index, colour in enumerate(SOURCE)
}
POINTS = 160  # of a curve that is read
BACKGROUND_POINTS = 40  # of a curve that is only there for comparison
MANY = 6  # curves; more are drawn as small multiples


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges (one more edge than counts)."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def longest(self) -> float:
        """The right edge of the last bin that holds anything."""
        filled = [right for right, count in zip(self.edges[1:], self.counts, strict=False) if count]
        return filled[-1] if filled else 0.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A named series; several may share a name (seeds)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def _thin(curve: Curve, points: int) -> Curve:
    """Average neighbouring points until at most `points` are left; the first and the last value stay as they are."""
    count = len(curve.x)
    if count <= points:
        return curve
    bounds = [round(index * count / points) for index in range(points + 1)]
    x = [sum(curve.x[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    y = [sum(curve.y[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    return Curve(curve.name, (curve.x[0], *x[1:-1], curve.x[-1]), (curve.y[0], *y[1:-1], curve.y[-1]))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a bare figure of CSS pixels with quiet axes: a base line, faint horizontal rules, few ticks."""
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((38 / width, 26 / height, (width - 48) / width, (height - 36) / height))
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, labelsize=11, labelcolor=FAINT, pad=4)
    axes.grid(axis="y", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=4)
    return figure, axes


def _svg(figure: Figure, name: str, label: str) -> str:
    """Render a figure to an inline element: variables for colours, the page's font, ids that are unique on the page.

    `name` becomes part of ids, so it must not come from data; `label` may.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "path.simplify": True}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # The style element would reach the whole page, and the ids of groups are referred to by nothing.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"\bid=\"", f'id="{name}-', text)
    text = re.sub(r"(href=\"#|url\(#)", rf"\g<1>{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r"(\d\.\d{2})\d+", r"\1", text)
    head = f'<svg class="plot" role="img" aria-label="{_attribute(label)}" '
    box = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">") + 1 :]
    return head + (box.group(0) if box else "") + ">" + re.sub(r"\s*\n\s*", "", body)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _short(value: float, _: object = None) -> str:
    """Label a tick: 1500 -> "1.5k"."""
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def draw_histogram(histogram: Histogram, colour: int, longest: float, name: str) -> str:
    """Draw token lengths of one source on an axis from 0 to `longest`."""
    figure, axes = _figure(300, 130)
    widths = [right - left for left, right in zip(histogram.edges, histogram.edges[1:], strict=False)]
    axes.bar(histogram.edges[:-1], histogram.counts, width=widths, align="edge", color=SOURCE[colour % 10], linewidth=0)
    axes.set_xlim(0, longest or 1)
    axes.xaxis.set_major_formatter(_short)
    axes.yaxis.set_major_formatter(_short)
    axes.locator_params(axis="y", nbins=3, integer=True)
    return _svg(figure, name, f"Histogram of conversation lengths in tokens, up to {longest:g}")


def _limits(curves: Sequence[Curve]) -> tuple[float, float, float]:
    """Return (last x, lowest y, highest y) over all curves, with room below and above; first steps may be cut."""
    tail = [y for curve in curves for y in curve.y if math.isfinite(y)]
    low, high = min(tail), max(tail)
    room = (high - low or 1) * 0.06
    return max(curve.x[-1] for curve in curves), max(0.0, low - room) if low >= 0 else low - room, high + room


def draw_curves(curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """Draw loss curves: one panel with labelled lines, or one panel a name with the others behind it.

    Returns (caption, svg) pairs; a caption is empty where the lines carry their names.
    """
    curves = [curve for curve in curves if curve.x]
    names = list(dict.fromkeys(curve.name for curve in curves))
    if not names:
        return []
    if len(names) <= MANY:
        return [("", _one_panel(curves, names))]
    return [(name, _multiple(curves, name, index)) for index, name in enumerate(names)]


def _multiple(curves: Sequence[Curve], name: str, index: int) -> str:
    figure, axes = _figure(300, 170)
    last, low, high = _limits(curves)
    first_seeds = {curve.name: curve for curve in reversed(curves)}
    for curve in first_seeds.values():
        if curve.name != name:
            thin = _thin(curve, BACKGROUND_POINTS)
            axes.plot(thin.x, thin.y, color=GHOST, linewidth=0.9)
    for curve in curves:
        if curve.name == name:
            thin = _thin(curve, POINTS)
            axes.plot(thin.x, thin.y, color=ACCENT, linewidth=1.8)
    _set(axes, last, low, high)
    return _svg(figure, f"curve-{index}", f"Training loss of {name} by step, beside the other mixes")


def _one_panel(curves: Sequence[Curve], names: list[str]) -> str:
    figure, axes = _figure(640, 300)
    last, low, high = _limits(curves)
    ends: list[tuple[float, str, str]] = []
    for index, name in enumerate(names):
        own = [_thin(curve, POINTS) for curve in curves if curve.name == name]
        for curve in own:
            axes.plot(curve.x, curve.y, color=SOURCE[index], linewidth=1.8)
        ends.append((own[0].y[-1], name, SOURCE[index]))
    _set(axes, last * 1.25, low, high)
    height = (high - low) * 0.075
    placed = low - height
    for y, name, colour in sorted(ends):
        placed = max(y, placed + height)
        text = axes.text(last * 1.02, placed, name, va="center", fontsize=12, color=INK, parse_math=False)
        axes.plot([last, last * 1.018], [y, placed], color=colour, linewidth=1)
        text.set_clip_on(False)
    return _svg(figure, "curves", "Training loss by step: " + ", ".join(names))


def _set(axes: Axes, last: float, low: float, high: float) -> None:
    axes.set_xlim(0, last)
    axes.set_ylim(low, high)
    axes.xaxis.set_major_formatter(_short)
