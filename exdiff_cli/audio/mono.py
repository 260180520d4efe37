"""A recording as one mono signal at 16 kHz: for pictures, scores, training and examples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from exdiff_cli.audio.io import probe, read_windows
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler

MONO_RATE = 16_000
WINDOW_FRAMES = 1 << 19


def mono_windows(path: Path) -> Iterator[Samples]:
    """A recording window by window, channels averaged, each ``(samples,)`` at 16 kHz.

    Raises :class:`RecordingError` where it cannot be read.
    """
    recording = probe(path)
    resampler = StreamResampler(recording.sample_rate, MONO_RATE)
    for window in read_windows(recording, WINDOW_FRAMES):
        yield resampler.push(window.mean(axis=0, keepdims=True))[0]
    yield resampler.flush()[0]


def read_mono(path: Path) -> Samples:
    """A whole recording, channels averaged, ``(samples,)`` at 16 kHz; errors as in :func:`mono_windows`."""
    return np.concatenate(list(mono_windows(path)))
