"""What lies above the models' band: it is turned down as the top of their band was, moment by moment.

The models hear 8 kHz. Above it lie the edges of consonants and much of the hiss: where the models left the octave below
as it was, it stays, and where they took that away, it goes too. Where nothing is changed, the recording comes out as
it was, to the rounding of a float.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler

BLOCK_SECONDS = 0.016
"""Gains are taken so often, and go over into each other in between."""

RELEASE = 0.5
"""How much of a block's gain is left in the next at least: a consonant does not end at once."""

WHOLE_BAND = 1e-3
"""What the whole band's energy counts beside the octave's, for where there is nothing in that."""

TINY = 1e-12


class OwnRate(Protocol):
    """Brings what the models made of a stream back to the stream's own rate. Audio is ``(channels, n)``.

    The recording goes in by :meth:`keep` as it is decoded, perhaps from another thread, what the models heard and what
    they made of it by :meth:`restore`. All that this and the closing :meth:`flush` return, joined, is as long as the
    recording, or a few samples of resampling longer.
    """

    def keep(self, window: Samples) -> None: ...

    def restore(self, heard: Samples, made: Samples) -> Samples: ...

    def flush(self) -> Samples: ...


def back_from(model_rate: int, rate: int, channels: int) -> OwnRate:
    """From the models' rate to a recording's."""
    return HighBand(model_rate, rate, channels) if rate > model_rate else WithinBand(model_rate, rate)


class WithinBand:
    """A recording in which the models hear everything."""

    def __init__(self, model_rate: int, rate: int) -> None:
        self._resampler = StreamResampler(model_rate, rate)

    def keep(self, window: Samples) -> None:
        """Nothing of it is needed."""

    def restore(self, heard: Samples, made: Samples) -> Samples:
        return self._resampler.push(made)

    def flush(self) -> Samples:
        return self._resampler.flush()


class HighBand:
    """A recording of which the models do not hear the top."""

    def __init__(self, model_rate: int, rate: int, channels: int) -> None:
        self._block = round(rate * BLOCK_SECONDS)
        self._channels = channels
        self._upsampler = StreamResampler(model_rate, rate)
        self._octave = butter(4, model_rate / 4, "highpass", fs=rate, output="sos")
        self._state = np.zeros((len(self._octave), 2 * channels, 2))
        self._recorded: deque[Samples] = deque()
        self._pending: Samples = np.zeros((3 * channels, 0), np.float32)
        self._gain: NDArray[np.float64] | None = None

    def keep(self, window: Samples) -> None:
        self._recorded.append(window)

    def restore(self, heard: Samples, made: Samples) -> Samples:
        return self._advance(self._upsampler.push(np.concatenate([heard, made])))

    def flush(self) -> Samples:
        rest = self._advance(self._upsampler.flush())
        left = self._pending.shape[1]
        filled = np.pad(self._pending, ((0, 0), (0, self._block - left)))
        return np.concatenate([rest, self._join(filled)[:, :left]], axis=1)

    def _advance(self, upsampled: Samples) -> Samples:
        recorded = self._take(upsampled.shape[1])
        self._pending = np.concatenate([self._pending, np.concatenate([recorded, upsampled])], axis=1)
        whole = self._pending.shape[1] // self._block * self._block
        ready, self._pending = np.split(self._pending, [whole], axis=1)
        return self._join(ready)

    def _take(self, count: int) -> Samples:
        """The next ``count`` samples of the recording, silence behind its end."""
        taken: list[Samples] = []
        while count and self._recorded:
            window = self._recorded.popleft()
            if window.shape[1] > count:
                self._recorded.appendleft(window[:, count:])
            taken.append(window[:, :count])
            count -= taken[-1].shape[1]
        return np.concatenate([*taken, np.zeros((self._channels, count), np.float32)], axis=1)

    def _join(self, blocks: Samples) -> Samples:
        """Whole blocks of recording, heard and made into what they come to."""
        recorded, heard, made = np.split(blocks, 3)
        if not made.size:
            return made
        gains = self._glide(self._gains(blocks[self._channels :]))
        return made + (recorded - heard) * gains.astype(np.float32)

    def _gains(self, signals: Samples) -> NDArray[np.float64]:
        """What became of the octave below the models' limit, ``(channels, blocks)``, 0 to 1."""
        filtered, self._state = sosfilt(self._octave, signals, axis=-1, zi=self._state)
        energy = self._energies(filtered) + WHOLE_BAND * self._energies(signals) + TINY
        heard, made = np.split(energy, 2)
        return np.sqrt(np.minimum(made / heard, 1.0))

    def _energies(self, signals: NDArray[np.floating]) -> NDArray[np.float64]:
        blocks = signals.reshape(len(signals), -1, self._block).astype(np.float64)
        return np.mean(np.square(blocks), axis=-1)

    def _glide(self, gains: NDArray[np.float64]) -> NDArray[np.float64]:
        """A gain a sample, in straight lines from block to block; it falls no faster than the release."""
        steps = [gains[:, :1] if self._gain is None else self._gain]
        for gain in gains.T[:, :, None]:
            steps.append(np.maximum(gain, RELEASE * steps[-1]))
        self._gain = steps[-1]
        points = np.concatenate(steps, axis=1)
        rise = (np.arange(self._block) + 1) / self._block
        lines = points[:, :-1, None] + np.diff(points)[:, :, None] * rise
        return lines.reshape(len(points), -1)
