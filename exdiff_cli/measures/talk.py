"""How much somebody speaks, and how loud that is against what is heard between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import FRAME_SAMPLES

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


def measure_talk(windows: Sequence[Floats], speech: Sequence[Floats]) -> Talk:
    """Of windows ``(samples,)`` at 16 kHz of one recording; ``speech`` has the detector's probabilities of each."""
    probabilities, power = np.concatenate(speech), np.concatenate([_powers(window) for window in windows])
    spoken, silent = probabilities >= SPOKEN, probabilities < SILENT
    snr = None
    if min(spoken.sum(), silent.sum()) >= LEAST_FRAMES:
        noise = power[silent].mean()
        snr = _decibels(max(power[spoken].mean() - noise, 0.0), noise)
    return Talk(round(float(spoken.mean()), 4), snr)


def fall_of_speech(before: Sequence[Floats], after: Sequence[Floats], speech: Sequence[Floats]) -> float:
    """By how many decibels the frames of ``before`` in which somebody speaks are fainter ``after``; 0 without any.

    Windows as in :func:`measure_talk`, the same ones of both; ``speech`` is of those before.
    """
    spoken = np.concatenate(speech) >= SPOKEN
    if not spoken.any():
        return 0.0
    given, left = (np.concatenate([_powers(window) for window in each])[spoken].mean() for each in (before, after))
    return _decibels(given, left)


def _powers(window: Floats) -> Floats:
    """Mean square of the detector's frames, the last filled up with silence."""
    return np.square(np.pad(window, (0, -len(window) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)).mean(axis=1)


def _decibels(signal: float, noise: float) -> float:
    ratio = 10 * np.log10(max(signal, 1e-12) / max(noise, 1e-12))
    return round(float(np.clip(ratio, -MOST_DECIBELS, MOST_DECIBELS)), 1)
