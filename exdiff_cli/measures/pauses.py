"""What is left, and what was invented, where the reference says that nobody speaks."""

from __future__ import annotations

import numpy as np

from exdiff_cli.measures import FLOOR_DBFS, Floats

FRAME = 512
HOP = 256
SPEECH_RANGE = 30.0
PAUSE_BELOW = 35.0
"""Frames are speech down to the first many dB below the loudest one, and a pause from the second on."""

LEAST_FRAMES = 20


def pause_levels(estimate: Floats, clean: Floats, noisy: Floats) -> tuple[float, float] | None:
    """Level of the pauses, and of what is in them beyond the mixture, in dB of the clean speech's level.

    The second is invention: sound that the mixture does not hold at that time and frequency. Signals are mono
    ``(samples,)``; None where the reference has no pauses, or no speech.
    """
    spectra = [_magnitudes(signal) for signal in (estimate, clean, noisy)]
    energy = np.square(spectra[1]).sum(axis=0)
    if not energy.size or energy.max() <= 0:
        return None
    below = -10 * np.log10(energy / energy.max() + 1e-12)
    speech, pause = below <= SPEECH_RANGE, below >= PAUSE_BELOW
    if pause.sum() < LEAST_FRAMES:
        return None
    found, _, mixture = (spectrum[:, pause] for spectrum in spectra)
    beyond = np.maximum(found - mixture, 0)
    level = energy[speech].mean()
    return _decibels(found, level), _decibels(beyond, level)


def _magnitudes(signal: Floats) -> Floats:
    """``(bins, frames)`` of Hann-windowed frames; a signal shorter than one has none."""
    if len(signal) < FRAME:
        return np.zeros((FRAME // 2 + 1, 0))
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=-1)).T


def _decibels(magnitudes: Floats, level: float) -> float:
    mean = np.square(magnitudes).sum(axis=0).mean() / level
    return max(FLOOR_DBFS, float(10 * np.log10(mean + 1e-30)))
