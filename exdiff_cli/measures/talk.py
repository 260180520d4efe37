"""How much somebody speaks, and how loud that is against what is heard between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import FRAME_SAMPLES, activity

SPOKEN, SILENT = 0.5, 0.15
"""The detector's probabilities from which on somebody speaks, and below which nobody does."""

LEAST_FRAMES = 10
"""A third of a second of each: of less the ratio would be chance."""

MOST_DECIBELS = 100.0


@dataclass(frozen=True)
class Talk:
    """The share of frames in which somebody speaks, 0 to 1, and the estimated signal-to-noise ratio in decibels.

    That is None where nobody speaks, or somebody all the time.
    """

    speech_share: float
    snr_db: float | None


def measure_talk(windows: Sequence[Floats]) -> Talk:
    """Of windows ``(samples,)`` at 16 kHz of one recording, each heard by itself."""
    speech = np.concatenate([activity(window) for window in windows])
    power = np.concatenate([_powers(window) for window in windows])
    spoken, silent = speech >= SPOKEN, speech < SILENT
    snr = None
    if min(spoken.sum(), silent.sum()) >= LEAST_FRAMES:
        noise = power[silent].mean()
        snr = _decibels(max(power[spoken].mean() - noise, 0.0), noise)
    return Talk(round(float(spoken.mean()), 4), snr)


def _powers(window: Floats) -> Floats:
    """Mean square of the detector's frames, the last filled up with silence."""
    return np.square(np.pad(window, (0, -len(window) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)).mean(axis=1)


def _decibels(signal: float, noise: float) -> float:
    ratio = 10 * np.log10(max(signal, 1e-12) / max(noise, 1e-12))
    return round(float(np.clip(ratio, -MOST_DECIBELS, MOST_DECIBELS)), 1)
