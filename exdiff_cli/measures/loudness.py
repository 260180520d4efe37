"""Integrated loudness by ITU-R BS.1770-4, streamed."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.signal import sosfilt

from exdiff_cli.measures import Floats

_ABSOLUTE_GATE = -70.0
_BIN_LU = 0.01
_BINS = round(120 / _BIN_LU)

_LOWEST_RATE = 4000
"""Below, in Hz, the weighting filter's shelf at 1.7 kHz comes to lie at the end of the band, or beyond."""


class LoudnessMeter:
    """Integrated loudness by ITU-R BS.1770-4, in memory that does not grow with the recording.

    Blocks of 400 ms every 100 ms are gathered in a histogram of 0.01 LU bins that keeps their energies: only
    blocks within 0.01 LU of the relative gate can be counted otherwise than by keeping them all.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._defined = sample_rate >= _LOWEST_RATE
        self._step = round(sample_rate / 10)
        self._weights = _channel_weights(channels)
        self._filters = _k_weighting(max(sample_rate, _LOWEST_RATE))
        self._state = np.zeros((len(self._filters), channels, 2))
        self._pending = np.zeros((channels, 0))
        self._steps: Floats = np.zeros(0)
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._energies = np.zeros(_BINS)

    def push(self, chunk: Floats) -> None:
        """Take the next ``(channels, n)`` samples."""
        if chunk.size == 0 or not self._defined:
            return
        samples = np.asarray(chunk, dtype=np.float64)
        filtered, self._state = sosfilt(self._filters, samples, axis=-1, zi=self._state)
        waiting = np.concatenate([self._pending, filtered], axis=-1)
        count = waiting.shape[-1] // self._step
        whole, self._pending = np.split(waiting, [count * self._step], axis=-1)
        steps = np.mean(whole.reshape(len(whole), count, self._step) ** 2, axis=-1)
        self._gather(np.concatenate([self._steps, self._weights @ steps]))

    def _gather(self, steps: Floats) -> None:
        blocks = np.convolve(steps, np.full(4, 0.25), mode="valid") if len(steps) >= 4 else np.zeros(0)
        self._steps = steps[-3:]
        blocks = blocks[blocks > _energy(_ABSOLUTE_GATE)]
        bins = ((_loudness(blocks) - _ABSOLUTE_GATE) / _BIN_LU).astype(int).clip(0, _BINS - 1)
        np.add.at(self._counts, bins, 1)
        np.add.at(self._energies, bins, blocks)

    def integrated(self) -> float | None:
        """Loudness so far in LUFS; None for silence, for less than 400 ms, and for sample rates below 4 kHz."""
        if not self._counts.any():
            return None
        relative_gate = float(_loudness(self._energies.sum() / self._counts.sum())) - 10
        first = max(0, math.ceil((relative_gate - _ABSOLUTE_GATE) / _BIN_LU))
        return float(_loudness(self._energies[first:].sum() / self._counts[first:].sum()))


def _loudness(energy: Any) -> Any:
    return -0.691 + 10 * np.log10(energy)  # BS.1770-4, equation 2


def _energy(loudness: float) -> float:
    return float(10 ** ((loudness + 0.691) / 10))


def _channel_weights(channels: int) -> Floats:
    """BS.1770-4, table 3, for L R C Ls Rs; six channels are 5.1 in WAV order, whose fourth does not count."""
    surround = {4: [1, 1, 1.41, 1.41], 5: [1, 1, 1, 1.41, 1.41], 6: [1, 1, 1, 0, 1.41, 1.41]}
    return np.array(surround.get(channels, [1] * channels), dtype=np.float64)


@lru_cache(maxsize=8)
def _k_weighting(sample_rate: int) -> Floats:
    """Second-order sections ``(2, 6)`` of BS.1770-4, annex 1, for any sample rate.

    The standard tabulates them at 48 kHz only. The analogue prototypes behind its tables, as recovered by De
    Man (2014), give those tables back and hold at other rates.
    """
    warped, quality = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416 / quality
    poles = _poles(warped, quality)
    zeros = [high + band * warped + warped**2, 2 * (warped**2 - high), high - band * warped + warped**2]
    shelf = np.array([*zeros, *poles]) / poles[0]
    tabulated, poles = (
        _poles(math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773) for rate in (48_000, sample_rate)
    )
    # The table's numerator is 1, -2, 1: its pass band lies 0.04 dB above 0, and so it must at every rate.
    high_pass = np.array([tabulated[0], -2 * tabulated[0], tabulated[0], *poles]) / poles[0]
    return np.stack([shelf, high_pass])


def _poles(warped: float, quality: float) -> list[float]:
    return [1 + warped / quality + warped**2, 2 * (warped**2 - 1), 1 - warped / quality + warped**2]
