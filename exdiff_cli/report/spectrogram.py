"""A recording's level over time and frequency, however long it is: read window by window, and thinned out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exdiff_cli.audio.io import probe, read_windows
from exdiff_cli.audio.recording import Recording, Samples

TOP_HZ = 8_000
ROWS = 256
"""Bands of equal width from 0 to :data:`TOP_HZ`."""

WINDOW_SECONDS, HOP_SECONDS = 0.032, 0.008
FRAMES_A_COLUMN = 8
"""So many short spectra at most are averaged into a column: more would take hours' recordings longer, to no effect."""

READ_FRAMES = 1 << 17
FLOOR = 1e-12


@dataclass(frozen=True)
class Spectrogram:
    """``decibels`` is ``(ROWS, columns)``, the lowest band first; a sine of full scale has 0 dB."""

    decibels: Samples
    seconds: float
    top_hz: float
    """Above it the recording's rate has no room for anything."""


def spectrogram(path: Path, most_columns: int) -> Spectrogram:
    """Channels averaged, at the recording's own rate; what that does not hold is silence.

    Raises :class:`RecordingError` where it cannot be read.
    """
    recording = probe(path)
    size = max(2, round(WINDOW_SECONDS * recording.sample_rate))
    hop = max(1, round(HOP_SECONDS * recording.sample_rate))
    columns = max(1, min(most_columns, recording.frames // hop))
    stride = max(hop, recording.frames // (columns * FRAMES_A_COLUMN))
    power, count, first = np.zeros((columns, ROWS)), np.zeros((columns, 1)), 0
    for spectra in _spectra(recording, size, stride):
        centres = (first + np.arange(len(spectra))) * stride
        at = np.minimum(centres * columns // max(1, recording.frames), columns - 1)
        np.add.at(power, at, _in_rows(spectra, recording.sample_rate, size))
        np.add.at(count, at, 1)
        first += len(spectra)
    mean = power / np.maximum(count, 1)
    return Spectrogram(
        (10 * np.log10(mean.T + FLOOR)).astype(np.float32), recording.seconds, top_of(recording.sample_rate)
    )


def top_of(sample_rate: int) -> float:
    """The highest frequency in Hertz that is shown of a recording."""
    return min(TOP_HZ, sample_rate / 2)


def _spectra(recording: Recording, size: int, stride: int) -> Iterator[NDArray[np.float64]]:
    """Power spectra ``(frames, bins)``, some at a time, of windows centred on every ``stride``-th sample."""
    window = np.hanning(size + 2)[1:-1]
    scale = (2 / window.sum()) ** 2
    held, skipped = np.zeros(size // 2), 0
    for block in _blocks(recording, size):
        held = np.concatenate((held, block))
        dropped = min(skipped, len(held))
        held, skipped = held[dropped:], skipped - dropped
        if len(held) < size:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(held, size)[::stride]
        yield scale * np.abs(np.fft.rfft(frames * window)) ** 2
        past = len(frames) * stride
        held, skipped = held[past:], max(0, past - len(held))


def _blocks(recording: Recording, size: int) -> Iterator[Samples]:
    for block in read_windows(recording, READ_FRAMES):
        yield block.mean(axis=0)
    yield np.zeros(size - size // 2, np.float32)


def _in_rows(spectra: NDArray[np.float64], rate: int, size: int) -> NDArray[np.float64]:
    """The same ``(frames, ROWS)`` bands whatever the rate."""
    bins = np.round(np.arange(ROWS) * (TOP_HZ / ROWS) * size / rate).astype(int)
    known = bins < spectra.shape[1]
    rows = np.zeros((len(spectra), ROWS))
    rows[:, known] = spectra[:, bins[known]]
    return rows
