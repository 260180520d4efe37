"""How far up a recording has sound: where its long-term spectrum ends."""

from __future__ import annotations

import numpy as np

from exdiff_cli.measures import Floats

SPAN_DECIBELS = 60.0
"""Below its loudest part a spectrum counts as over: speech at 8 kHz is some 50 dB below its loudest part."""

FRAME = 2048
_WINDOW = np.hanning(FRAME)
_SMOOTHED = 9


class BandwidthMeter:
    """Long-term power spectrum of a stream of ``(channels, n)`` at ``sample_rate``, over all channels."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._rate = sample_rate
        self._pending: Floats = np.zeros((channels, 0))
        self._power = np.zeros(FRAME // 2 + 1)

    def push(self, chunk: Floats) -> None:
        """Take more samples."""
        waiting = np.concatenate([self._pending, chunk], axis=1)
        count = waiting.shape[1] // FRAME
        whole, self._pending = np.split(waiting, [count * FRAME], axis=1)
        if count:
            frames = whole.reshape(-1, FRAME) * _WINDOW
            self._power += np.square(np.abs(np.fft.rfft(frames))).sum(axis=0)

    def result(self) -> float | None:
        """The highest frequency within 60 dB of the loudest, in Hz; None for silence and for less than a frame."""
        smooth = np.convolve(self._power, np.ones(_SMOOTHED) / _SMOOTHED, "same")
        if not smooth.max() > 0:
            return None
        top = int(np.flatnonzero(smooth > smooth.max() * 10 ** (-SPAN_DECIBELS / 10))[-1])
        return round(top * self._rate / FRAME, 1)
