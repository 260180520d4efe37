"""A benchmark as one picture: its stages, and what else was measured beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from exdiff_cli.bench.against import COMPARED
from exdiff_cli.report.figure import save_figure
from exdiff_cli.text import printable

ROW_INCHES, HEAD_INCHES = 0.3, 1.1
BAR_LABEL_ROOM, LABEL_ROOM = 0.22, 1.25
COLOUR = "C0"


def draw_bench(figures: Mapping[str, Any], target: Path) -> None:
    """Draw into ``target`` (PNG or SVG by its suffix); :class:`UsageError` where that cannot be written."""
    panels: list[Any] = [["stages", "against" if "against" in figures else "stages"]]
    heights = [HEAD_INCHES + ROW_INCHES * len(figures["by_stage"])]
    if "scaling" in figures:
        panels.append(["threads", "batch"])
        heights.append(2.6)
    if "published" in figures:
        panels.append(["published", "published"])
        heights.append(HEAD_INCHES + 2 * ROW_INCHES)
    figure, axes = plt.subplot_mosaic(
        panels, figsize=(10, sum(heights) + 0.5), height_ratios=heights, layout="constrained"
    )
    for name, axis in axes.items():
        _DRAWN[name](axis, figures)
        axis.title.set_parse_math(False)
    figure.suptitle(_title(figures), x=0.01, ha="left", fontsize=10, parse_math=False)
    save_figure(figure, target)


def _title(figures: Mapping[str, Any]) -> str:
    audio = f"{figures['audio_seconds']:g} s of audio in {_counted(figures['files'], 'file')}"
    steps, threads = _counted(figures["steps"], "step"), _counted(figures["threads"], "thread")
    device = figures["machine"]["device_name"]
    return printable(f"{figures['bundle']}, {steps}, {audio}, on {figures['device']} ({device}), {threads}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _bars(axis: Axes, values: Mapping[str, float], form: str) -> None:
    """Horizontal bars from the top down, each with its value."""
    names = [name.replace("_", " ") for name in values]
    bars = axis.barh(names, list(values.values()), color=COLOUR, height=0.65)
    labels = [form.format(value) for value in values.values()]
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    axis.bar_label(bars, labels=labels, padding=3, fontsize=8, bbox=behind)
    axis.invert_yaxis()
    axis.margins(x=BAR_LABEL_ROOM)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def _draw_stages(axis: Axes, figures: Mapping[str, Any]) -> None:
    _bars(axis, figures["by_stage"], "{:.5f}")
    axis.set_title(f"stages; the whole run: real-time factor {figures['real_time_factor']:g}", loc="left", fontsize=10)
    axis.set_xlabel("seconds of work a second of audio")


def _draw_against(axis: Axes, figures: Mapping[str, Any]) -> None:
    against = figures["against"]
    ratios = {name: against[name] for name in COMPARED if name in against} | against["by_stage"]
    _bars(axis, ratios, "{:.2f}")
    axis.axvline(1, color="grey", linewidth=0.8, zorder=0)
    title = "ratio to the stored run" + (", which differs otherwise, too" if against["differs"] else "")
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlabel("below 1: this run takes less")


def _draw_scaling(axis: Axes, name: str, title: str, figures: Mapping[str, Any]) -> None:
    series = figures["scaling"][name]
    places = range(len(series))
    axis.plot(places, [each["real_time_factor"] for each in series.values()], "o-", color=COLOUR)
    for place, each in zip(places, series.values(), strict=True):
        point = (place, each["real_time_factor"])
        axis.annotate(f"x {each['ratio']:g}", point, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    axis.set_xticks(places, list(series))
    axis.set_ylim(0, LABEL_ROOM * max(each["real_time_factor"] for each in series.values()))
    axis.margins(x=0.12)
    axis.set_title(f"real-time factor by {title}", loc="left", fontsize=10)
    axis.set_xlabel(title)
    axis.grid(alpha=0.3)


def _draw_published(axis: Axes, figures: Mapping[str, Any]) -> None:
    published = figures["published"]
    factors = {
        f"this run,\n{_counted(figures['steps'], 'step')}": figures["real_time_factor"],
        f"published,\n{published['evaluations']} evaluations*": published["real_time_factor"],
    }
    _bars(axis, factors, "{:.3g}")
    axis.set_xscale("log")
    low, high = min(factors.values()), max(factors.values())
    axis.set_xlim(low / 4, high * 4)
    axis.axvline(1, color="grey", linewidth=0.8, zorder=0)
    axis.set_title(f"published setting: {published['times_faster']:g} times slower", loc="left", fontsize=10)
    timed = published["evaluations_timed"]
    axis.set_xlabel(f"real-time factor, log scale; * of evaluations alone, extrapolated from {timed}")


_DRAWN = {
    "stages": _draw_stages,
    "against": _draw_against,
    "threads": lambda axis, figures: _draw_scaling(axis, "threads", "threads", figures),
    "batch": lambda axis, figures: _draw_scaling(axis, "batch", "segments a batch", figures),
    "published": _draw_published,
}
