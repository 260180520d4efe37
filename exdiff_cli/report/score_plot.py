"""An evaluation as a picture: each system's means with intervals, and its gain by signal-to-noise ratio."""

from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from exdiff_cli.report.figure import save_figure
from exdiff_cli.report.score_tables import compared_by_tag, heading
from exdiff_cli.scores import Scores

SHOWN = ("pesq", "estoi", "si_sdr", "ovrl")


def draw_scores(scores: Scores, target: Path) -> None:
    """Draw into ``target`` (PNG or SVG by its suffix); :class:`UsageError` where that cannot be written."""
    measures = [name for name in SHOWN if name in scores.measures] or list(scores.measures[:4])
    figure, axes = plt.subplots(2, len(measures), figsize=(3.6 * len(measures), 7), squeeze=False, layout="constrained")
    for column, measure in enumerate(measures):
        _draw_means(axes[0, column], scores, measure, labels=column == 0)
        _draw_by_snr(axes[1, column], scores, measure)
    axes[1, 0].legend(fontsize=8)
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


def _levels(scores: Scores) -> list[str]:
    return [value for value in scores.tag_values("snr") if value != "none"]
