"""Spectrogram pictures: a recording before and after, one above the other on the same scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.report.figure import save_figure
from exdiff_cli.text import printable

RANGE_DB = 80.0


def draw_before_after(before: Path, after: Path, target: Path) -> None:
    """Draw both recordings' spectrograms into ``target`` (PNG or SVG by its suffix).

    Raises :class:`UsageError` where that cannot be written, RecordingError where one cannot be read.
    """
    signals = [read_mono(path) for path in (before, after)]
    top = max(_decibels(signal).max() for signal in signals)
    figure, axes = plt.subplots(2, 1, figsize=(10, 5), sharex=True, constrained_layout=True)
    for axis, signal, title in zip(axes, signals, (f"before: {before.name}", f"after: {after.name}"), strict=True):
        _draw(axis, signal, title, top)
    axes[-1].set_xlabel("seconds")
    save_figure(figure, target)


def _draw(axis: Axes, signal: Samples, title: str, top: float) -> None:
    extent = (0, len(signal) / 16_000, 0, 8)
    axis.imshow(
        _decibels(signal),
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=top - RANGE_DB,
        vmax=top,
        cmap="magma",
    )
    axis.set_title(printable(title), loc="left", fontsize=10, parse_math=False)
    axis.set_ylabel("kHz")


def _decibels(signal: Samples, size: int = 512, hop: int = 128) -> Samples:
    """Log power spectrogram ``(bins, frames)``."""
    padded = np.pad(signal, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    return (20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-6)).T.astype(np.float32)
