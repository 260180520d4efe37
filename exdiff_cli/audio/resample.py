"""Changes the sample rate of a stream, chunk by chunk, with the filter of ``torchaudio.functional.resample``.

That function convolves with a kernel of ``new`` rows by ``orig`` columns and some, mostly zeros: gigabytes
for rates without a common divisor. Here each output sample takes only the taps that are not zero, so that
any pair of rates costs the same. Audio is a float32 NumPy array ``(channels, frames)``.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99
_BLOCK = 1 << 14
_FEW_PHASES = 8


def resampled_length(frames: int, orig_rate: int, new_rate: int) -> int:
    """Number of frames that ``frames`` at ``orig_rate`` Hertz become at ``new_rate``, rounded up."""
    return -(-frames * new_rate // orig_rate)


class StreamResampler:
    """Resamples one stream from ``orig_rate`` to ``new_rate`` Hertz, in memory bounded by the chunk.

    All that :meth:`push` and the closing :meth:`flush` return, joined, equals resampling the whole at once
    and has :func:`resampled_length` frames, however the stream was cut. At equal rates chunks pass through
    unchanged.
    """

    def __init__(self, orig_rate: int, new_rate: int) -> None:
        if orig_rate < 1 or new_rate < 1:
            raise ValueError(f"sample rates must be positive, not {orig_rate} and {new_rate}")
        common = gcd(orig_rate, new_rate)
        self._orig, self._new = orig_rate // common, new_rate // common
        self._half = _half_width(self._orig, self._new)
        self._buffer: Samples | None = None
        self._start = -self._half
        self._produced = 0

    def push(self, chunk: Samples) -> Samples:
        """Take ``(channels, n)`` and return the ``(channels, m)`` that no later sample can change."""
        if self._orig == self._new:
            self._buffer = chunk[:, :0]
            return chunk
        if self._buffer is None:
            self._buffer = np.zeros((chunk.shape[0], self._half), dtype=np.float32)
        self._buffer = np.concatenate([self._buffer, chunk], axis=1, dtype=np.float32)
        received = self._start + self._buffer.shape[1]
        ready = max(self._produced, resampled_length(received - self._half - 1, self._orig, self._new))
        result = self._interpolate(self._buffer, ready)
        self._produced = ready
        self._drop_consumed(self._buffer)
        return result

    def flush(self) -> Samples:
        """End the stream and return the rest of it; ``(0, 0)`` where nothing was pushed."""
        if self._buffer is None:
            return np.zeros((0, 0), dtype=np.float32)
        if self._orig == self._new:
            return self._buffer
        return self.push(np.zeros((self._buffer.shape[0], self._half + 1), dtype=np.float32))

    def _interpolate(self, buffer: Samples, end: int) -> Samples:
        """Output samples ``self._produced`` to ``end``."""
        result = np.empty((buffer.shape[0], end - self._produced), dtype=np.float32)
        if not result.size:
            return result
        if self._new <= _FEW_PHASES:
            return self._phase_by_phase(buffer, result)
        return self._gathered(buffer, result)

    def _phase_by_phase(self, buffer: Samples, result: Samples) -> Samples:
        """Tap by tap for all outputs of a phase: several times faster than :meth:`_gathered` where phases are few."""
        for index in range(min(self._new, result.shape[1])):
            output = self._produced + index
            part = result[:, index :: self._new]
            start, span = int(self._first_tap(np.array(output))) - self._start, part.shape[1] * self._orig
            part[:] = 0.0
            for tap, weight in enumerate(_weights(self._orig, self._new)[output % self._new]):
                part += weight * buffer[:, start + tap : start + tap + span : self._orig][:, : part.shape[1]]
        return result

    def _gathered(self, buffer: Samples, result: Samples) -> Samples:
        """In blocks, as each output gathers all of its taps."""
        weights, end = _weights(self._orig, self._new), self._produced + result.shape[1]
        windows = sliding_window_view(buffer, weights.shape[1], axis=1)
        for offset in range(0, result.shape[1], _BLOCK):
            outputs = np.arange(self._produced + offset, min(self._produced + offset + _BLOCK, end))
            taps = windows[:, self._first_tap(outputs) - self._start]
            part = result[:, offset : offset + _BLOCK]
            np.einsum("cmt,mt->cm", taps, weights[outputs % self._new], out=part)
        return result

    def _first_tap(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        return outputs * self._orig // self._new - self._half

    def _drop_consumed(self, buffer: Samples) -> None:
        start = int(self._first_tap(np.array(self._produced)))
        self._buffer = buffer[:, start - self._start :].copy()
        self._start = start


def _half_width(orig: int, new: int) -> int:
    """Input samples within which the filter falls to zero on either side."""
    return ceil(_ZERO_CROSSINGS * orig / (min(orig, new) * _ROLLOFF))


@lru_cache(maxsize=8)
def _weights(orig: int, new: int) -> Samples:
    """The ``new`` phases of the Hann-windowed sinc filter, ``(new, taps)``.

    Output sample m lies at input sample m * orig / new; its taps start ``half`` samples before the whole
    part of that. Bandlimited interpolation after J. O. Smith, "Digital Audio Resampling", with the defaults
    of torchaudio.
    """
    half = _half_width(orig, new)
    phase = np.arange(new)[:, None]
    tap = phase * orig // new + np.arange(-half, half + 2)
    bandwidth = min(orig, new) * _ROLLOFF
    t = (tap * new - phase * orig) / (orig * new) * bandwidth
    t = t.clip(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(t * np.pi / _ZERO_CROSSINGS / 2) ** 2
    weights: Samples = (np.sinc(t) * window * (bandwidth / orig)).astype(np.float32)
    return weights
