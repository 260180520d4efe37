"""An evaluation as a picture: each system's means with intervals, means by signal-to-noise ratio, gains by steps."""

from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from exdiff_cli.report.figure import save_figure
from exdiff_cli.report.score_tables import compared_by_tag, heading
from exdiff_cli.scores import Scores, System

SHOWN = ("pesq", "estoi", "si_sdr", "ovrl")


def draw_scores(scores: Scores, target: Path) -> None:
    """Draw into ``target`` (PNG or SVG by its suffix); :class:`UsageError` where that cannot be written."""
    measures = [name for name in SHOWN if name in scores.measures] or list(scores.measures[:4])
    families = _families(scores)
    rows = 3 if families else 2
    size = (3.6 * len(measures), 3.5 * rows)
    figure, axes = plt.subplots(rows, len(measures), figsize=size, squeeze=False, layout="constrained")
    for column, measure in enumerate(measures):
        _draw_means(axes[0, column], scores, measure, labels=column == 0)
        _draw_by_snr(axes[1, column], scores, measure)
        if families:
            _draw_by_steps(axes[2, column], scores, measure, families)
    for row in axes[1:, 0]:
        row.legend(fontsize=8)
    save_figure(figure, target)


def _draw_means(axis: Axes, scores: Scores, measure: str, labels: bool) -> None:
    for place, system in enumerate(scores.systems):
        mean = scores.mean(system, measure)
        if mean is not None:
            spread = [[mean.value - mean.low], [mean.high - mean.value]]
            axis.errorbar(mean.value, -place, xerr=spread, fmt="o", capsize=3, color=f"C{place % 10}")
    axis.set_yticks([-place for place in range(len(scores.systems))])
    axis.set_yticklabels([system.label for system in scores.systems] if labels else [])
    axis.set_title(heading(measure), loc="left")
    axis.grid(axis="x", alpha=0.3)


def _draw_by_snr(axis: Axes, scores: Scores, measure: str) -> None:
    for system in compared_by_tag(scores):
        means = [(float(snr), scores.only("snr", snr).average(system, measure)) for snr in _levels(scores)]
        known = [(snr, mean) for snr, mean in means if mean is not None]
        axis.plot([snr for snr, _ in known], [value for _, value in known], "o-", label=system.label)
    axis.set_xlabel("SNR of the input, dB")
    axis.grid(alpha=0.3)


def _families(scores: Scores) -> dict[str, list[System]]:
    """Systems that differ in their number of steps alone, by name; empty where there is only one number."""
    named: dict[str, list[System]] = {}
    for system in sorted(scores.systems, key=lambda system: system.steps):
        if system.steps:
            named.setdefault(system.name, []).append(system)
    return {name: systems for name, systems in named.items() if len(systems) > 1}


def _draw_by_steps(axis: Axes, scores: Scores, measure: str, families: dict[str, list[System]]) -> None:
    """Paired gains over Extract, which is at no steps, and their intervals."""
    base = scores.systems[1]
    for place, (name, systems) in enumerate(families.items()):
        found = [(system.steps, scores.gain(system, base, measure)) for system in systems]
        known = [(0, 0.0, 0.0, 0.0), *((steps, g.value, g.low, g.high) for steps, g in found if g is not None)]
        steps, values, lows, highs = zip(*known, strict=True)
        axis.plot(steps, values, "o-", label=name, color=f"C{place}")
        axis.fill_between(steps, lows, highs, alpha=0.15, color=f"C{place}", linewidth=0)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_xlabel("diffusion steps (0: Extract)")
    axis.set_title(f"gain in {heading(measure)}", loc="left")
    axis.grid(alpha=0.3)


def _levels(scores: Scores) -> list[str]:
    return [value for value in scores.tag_values("snr") if value != "none"]
