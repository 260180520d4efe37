"""Spectrogram pictures: a recording before and after, one above the other on the same scale."""

from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from exdiff_cli.report.figure import save_figure
from exdiff_cli.report.spectrogram import TOP_HZ, Spectrogram, spectrogram
from exdiff_cli.text import printable

RANGE_DB = 80.0
COLUMNS = 2_000


def draw_before_after(before: Path, after: Path, target: Path) -> None:
    """Draw both recordings' spectrograms into ``target`` (PNG or SVG by its suffix).

    Raises :class:`UsageError` where that cannot be written, RecordingError where one cannot be read.
    """
    found = [spectrogram(path, COLUMNS) for path in (before, after)]
    top = max(float(each.decibels.max()) for each in found)
    figure, axes = plt.subplots(2, 1, figsize=(10, 5), sharex=True, constrained_layout=True)
    for axis, each, title in zip(axes, found, (f"before: {before.name}", f"after: {after.name}"), strict=True):
        _draw(axis, each, title, top)
    axes[-1].set_xlabel("seconds")
    save_figure(figure, target)


def _draw(axis: Axes, found: Spectrogram, title: str, top: float) -> None:
    axis.imshow(
        found.decibels,
        origin="lower",
        aspect="auto",
        extent=(0, found.seconds, 0, TOP_HZ / 1000),
        vmin=top - RANGE_DB,
        vmax=top,
        cmap="magma",
    )
    axis.set_title(printable(title), loc="left", fontsize=10, parse_math=False)
    axis.set_ylabel("kHz")
