"""Peaks between samples, as the true-peak meter of ITU-R BS.1770-4, annex 2, finds them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from exdiff_cli.measures import Floats

OVERSAMPLING = 4

REACH = 16
"""Samples on either side that a peak between two of them depends on, rounded up."""

_WORTH_A_LOOK = 0.5
"""Around samples below half of the peak so far no peak of a real recording is a higher one."""


def true_peaks(samples: Floats) -> NDArray[np.float64]:
    """The largest magnitude of any channel of ``(channels, n)`` around each sample, between samples too, ``(n,)``."""
    between = np.abs(resample_poly(samples.astype(np.float64), OVERSAMPLING, 1, axis=1)).max(axis=0)
    return np.maximum(between.reshape(-1, OVERSAMPLING).max(axis=1), np.abs(samples).max(axis=0))


class TruePeakMeter:
    """The highest true peak of a stream of ``(channels, n)``, full scale being one."""

    def __init__(self, channels: int) -> None:
        self._peak = 0.0
        self._before: Floats = np.zeros((channels, 2 * REACH))

    def push(self, chunk: Floats) -> None:
        """Take more samples; the last few are looked at with those that follow."""
        waiting = np.concatenate([self._before, chunk], axis=1)
        self._before = waiting[:, -2 * REACH :]
        if np.abs(waiting).max() > _WORTH_A_LOOK * self._peak:
            self._peak = max(self._peak, float(true_peaks(waiting)[REACH:-REACH].max(initial=0.0)))

    def result(self) -> float:
        """The highest so far, as if silence followed."""
        ending = np.pad(self._before, ((0, 0), (0, 2 * REACH)))
        return max(self._peak, float(true_peaks(ending)[REACH:].max()))
