"""Keeps true peaks from exceeding full scale without clipping: turns down what is around them, smoothly and ahead."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from exdiff_cli.audio.recording import Samples
from exdiff_cli.measures.true_peak import REACH, true_peaks

CEILING = 1.0
AHEAD_SECONDS = 0.005
_UNCHANGED = 1 - 1e-6

SURELY_BELOW = 0.5
"""Between samples so quiet no peak of a real recording reaches full scale."""


class Limiter:
    """Limits a stream of ``(channels, n)``, all channels alike; what it returns is as long as what it was given.

    The gain that a peak needs holds for :data:`AHEAD_SECONDS` around it and goes over into one in the same time. What
    needs no gain comes out bit by bit as it went in. ``limited`` counts the samples that were turned down.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self.limited = 0
        self._ahead = max(1, round(rate * AHEAD_SECONDS))
        # The gain of a sample is a mean of minima of peaks: it depends on so many samples on either side.
        self._reach = 2 * self._ahead + REACH
        self._buffer: Samples = np.zeros((channels, self._reach), np.float32)

    def push(self, samples: Samples) -> Samples:
        """Take more samples and return those that no later one changes."""
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        count = max(0, self._buffer.shape[1] - 2 * self._reach)
        result = self._limit(self._buffer[:, : count + 2 * self._reach], count)
        self._buffer = self._buffer[:, count:]
        return result

    def flush(self) -> Samples:
        """End the stream and return the rest of it."""
        return self.push(np.zeros((len(self._buffer), self._reach), np.float32))

    def _limit(self, around: Samples, count: int) -> Samples:
        middle = around[:, self._reach : self._reach + count]
        if not count or np.abs(around).max() < SURELY_BELOW:
            return middle
        needed = CEILING / np.maximum(true_peaks(around), CEILING)
        if needed.min() == 1.0:
            return middle
        held = minimum_filter1d(needed, 2 * self._ahead + 1, mode="constant", cval=1.0)
        gain = uniform_filter1d(held, 2 * self._ahead + 1, mode="constant", cval=1.0)[self._reach :][:count]
        gain[gain > _UNCHANGED] = 1.0
        self.limited += int(np.count_nonzero(gain < 1.0))
        return (middle * gain).astype(np.float32)
