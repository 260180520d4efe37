"""A whole recording as one mono signal, for pictures and for scores against a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exdiff_cli.audio.io import Samples, probe, read_windows
from exdiff_cli.audio.resample import StreamResampler

MONO_RATE = 16_000


def read_mono(path: Path) -> Samples:
    """A whole recording, channels averaged, ``(samples,)`` at 16 kHz."""
    recording = probe(path)
    resampler = StreamResampler(recording.sample_rate, MONO_RATE)
    parts = [resampler.push(window.mean(axis=0, keepdims=True)) for window in read_windows(recording, 1 << 20)]
    return np.concatenate([*parts, resampler.flush()], axis=1)[0]
