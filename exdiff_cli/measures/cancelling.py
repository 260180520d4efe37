"""Where the mean of all channels is next to nothing because they cancel each other, as those of inverted stereo do."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from exdiff_cli.measures import Floats

CANCELLED = 0.2
"""Of the energy that the mean has of as many channels with nothing in common. Of two channels that is 10 dB below what
each has; of many it has to be less, as their mean is low without any cancelling, too."""


class CancellingMeter:
    """Keeps the energies of each channel and of their mean, a second at a time."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate, self._channels = sample_rate, channels
        self._energies = array("d")
        self._second, self._length = np.zeros(channels + 1), 0

    def push(self, chunk: Floats) -> None:
        """Take the next ``(channels, n)`` samples."""
        if self._channels > 1:
            for piece in np.split(chunk, range(self._sample_rate - self._length, chunk.shape[1], self._sample_rate), 1):
                self._add(piece)

    def _add(self, piece: Floats) -> None:
        """What does not go beyond the second that has begun."""
        self._second[:-1] += np.square(piece, dtype=np.float64).sum(axis=1)
        self._second[-1] += np.square(piece.mean(axis=0, dtype=np.float64)).sum()
        self._length += piece.shape[1]
        if self._length == self._sample_rate:
            self._energies.extend(self._second)
            self._second, self._length = np.zeros_like(self._second), 0

    def loudest(self, starts: Iterable[int], seconds: int) -> dict[int, int]:
        """The loudest channel, by start, of those windows of ``seconds`` in which the channels cancel each other."""
        if self._channels == 1:
            return {}
        energies = np.concatenate((self._energies, self._second)).reshape(-1, self._channels + 1)
        found = {}
        for start in starts:
            *each, mean = energies[start : start + seconds].sum(axis=0)
            if mean < CANCELLED * np.mean(each) / self._channels:
                found[start] = int(np.argmax(each))
        return found
