"""Peaks between samples, as the true-peak meter of ITU-R BS.1770-4, annex 2, finds them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from exdiff_cli.measures import Floats

OVERSAMPLING = 4

REACH = 16
"""Samples on either side that a peak between two of them depends on, rounded up."""

_WORTH_A_LOOK = 0.5
"""Around samples below half of the peak so far no peak of a real recording is a higher one."""

_BLOCK = 256

_FILTER = firwin(20 * OVERSAMPLING + 1, 1 / OVERSAMPLING, window=("kaiser", 5.0))
"""What :func:`scipy.signal.resample_poly` would design anew each time."""


def true_peaks(samples: Floats) -> NDArray[np.float64]:
    """The largest magnitude of any channel of ``(channels, n)`` around each sample, between samples too, ``(n,)``."""
    between = np.abs(resample_poly(samples.astype(np.float64), OVERSAMPLING, 1, axis=1, window=_FILTER))
    # Phase by phase: NumPy takes the maximum over an axis of four far more slowly.
    highest = np.abs(samples).max(axis=0).astype(np.float64)
    for phase in range(OVERSAMPLING):
        np.maximum(highest, between[:, phase::OVERSAMPLING].max(axis=0), out=highest)
    return highest


class TruePeakMeter:
    """The highest true peak of a stream of ``(channels, n)``, full scale being one."""

    def __init__(self, channels: int) -> None:
        self._peak = 0.0
        self._waiting: Floats = np.zeros((channels, 2 * REACH))

    def push(self, chunk: Floats) -> None:
        """Take more samples; the last few are looked at with those that follow."""
        waiting = np.concatenate([self._waiting, chunk], axis=1)
        count = (waiting.shape[1] - 2 * REACH) // _BLOCK
        self._waiting = waiting[:, count * _BLOCK :]
        if count:
            blocks = sliding_window_view(waiting, _BLOCK + 2 * REACH, axis=1)[:, ::_BLOCK].reshape(
                -1, _BLOCK + 2 * REACH
            )
            self._look_at(blocks)

    def _look_at(self, blocks: Floats) -> None:
        highest = np.maximum(blocks.max(axis=1), -blocks.min(axis=1))
        self._peak = max(self._peak, float(highest.max()))
        worth_it = blocks[highest > _WORTH_A_LOOK * self._peak]
        if len(worth_it):
            self._peak = max(self._peak, float(true_peaks(worth_it)[REACH:-REACH].max()))

    def result(self) -> float:
        """The highest so far, as if silence followed."""
        ending = np.pad(self._waiting, ((0, 0), (0, 2 * REACH)))
        return max(self._peak, float(true_peaks(ending)[REACH:].max()))
