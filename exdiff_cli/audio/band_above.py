"""What a narrow-band recording might have held above its band, made up from what lies within it.

Artificial bandwidth extension by spectral translation: the bins of a band that telephones carry are shifted up to
fill what is missing, and a small network says how loud each part of it is to be (after Jax and Vary, *On artificial
bandwidth extension of telephone speech*, 2003, which estimates the envelope apart from the fine structure). All of it
is invention, made only where it is asked for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

from exdiff_cli.audio.recording import Recording, Samples
from exdiff_cli.audio.resample import resampled_length

RATE = 16_000
"""Of all that comes in and goes out here, in Hertz."""

LOWEST_RATE = 8_000
"""Of recordings that this is for: those of a lower rate lack what the network hears."""

FRAME, HOP = 512, 256
HEARD_HERTZ = np.linspace(300, 3400, 17)
"""Edges of the bands that the network hears: those of a telephone."""

MADE_HERTZ = np.linspace(3700, 8000, 9)
"""Edges of the bands whose energy it tells."""

PATCH = 64
BELOW = 10
"""Bins that are shifted up in one piece, and how many below the recording's own limit they end. Shifts are by even
numbers of bins, so that frames which are half a frame apart stay in phase."""

LEAST_RATIO, LEAST_POWER = 1e-6, 1e-12
CAUTION = 0.6
"""How far below the network's common logarithm of a power what is made up stays, 6 dB: too much disturbs more than too
little does."""

MOST_GAIN = 30.0
"""What is shifted up is made louder by no more: beyond, it would be what noise is left."""

WEIGHTS = Path(__file__).with_name("band_above.safetensors")
Floats = NDArray[np.float64]

_WINDOW = np.sqrt(np.hanning(FRAME + 1)[:FRAME])
MADE_BINS = np.round(MADE_HERTZ / RATE * FRAME).astype(int)
_CENTRES = (MADE_BINS[:-1] + MADE_BINS[1:]) / 2
_LINES = np.stack([np.interp(np.arange(FRAME // 2 + 1), _CENTRES, row) for row in np.eye(len(_CENTRES))])
_HEARD_BINS = np.round(HEARD_HERTZ / RATE * FRAME).astype(int)


def band_powers(power: Floats, edges: NDArray[np.int_]) -> Floats:
    """Mean power in each band: ``(..., bins)`` to ``(..., bands)``."""
    return np.stack([power[..., a:b].mean(-1) for a, b in pairwise(edges)], axis=-1)


def spectra(samples: NDArray[np.floating]) -> NDArray[np.complex128]:
    """``(..., n)`` to ``(..., frames, bins)``, of all frames that are whole."""
    frames = sliding_window_view(samples, FRAME, axis=-1)[..., ::HOP, :]
    return np.fft.rfft(frames * _WINDOW)


def ratios(power: Floats, edges: NDArray[np.int_], total: Floats) -> Floats:
    """Common logarithm of each band's power against the ``total`` heard, whatever the recording's level."""
    return np.log10(np.maximum(band_powers(power, edges) / (total + LEAST_POWER), LEAST_RATIO))


def heard_total(power: Floats) -> Floats:
    """Mean power of the heard bands, ``(..., 1)``."""
    return band_powers(power, _HEARD_BINS).mean(-1, keepdims=True)


def features(power: Floats, earlier: Floats) -> Floats:
    """What the network hears of frames ``(..., frames, bins)`` and the one before them, ``(..., 1, bins)``."""
    power = np.concatenate([earlier, power], axis=-2)
    total = heard_total(power)
    heard = ratios(power, _HEARD_BINS, total)
    change = np.diff(np.log10(total + LEAST_POWER), axis=-2).clip(-3, 3)
    return np.concatenate([heard[..., 1:, :], heard[..., :-1, :], change], axis=-1)


def targets(power: Floats) -> Floats:
    """What the network is to tell of frames ``(..., frames, bins)`` that are whole."""
    return ratios(power, MADE_BINS, heard_total(power))


@cache
def _weights() -> dict[str, NDArray[np.float32]]:
    return load_file(WEIGHTS)


def told_ratios(heard: Floats) -> Floats:
    """The network: one hidden layer."""
    w = _weights()
    hidden = np.tanh(heard @ w["hidden.weight"].T + w["hidden.bias"])
    return np.asarray(hidden @ w["out.weight"].T + w["out.bias"], np.float64)


def is_narrow(recording: Recording) -> bool:
    """Whether there is a band to fill above what a recording holds, and enough below to tell how."""
    return LOWEST_RATE <= recording.sample_rate < RATE


def as_stored(recording: Recording, extend: bool) -> Recording:
    """A recording as its result is stored: itself, unless its band is to be extended and there is one to extend."""
    if not (extend and is_narrow(recording)):
        return recording
    frames = resampled_length(recording.frames, recording.sample_rate, RATE)
    return replace(recording, sample_rate=RATE, frames=frames)


class BandAbove:
    """Fills what lies above a recording of a low ``rate``; the result is at :data:`RATE`. Audio is ``(channels, n)``.

    An :class:`~exdiff_cli.audio.highband.OwnRate`, but for the rate that it brings a stream to.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._edge = round(0.46 * rate / RATE * FRAME)
        self._input: Samples = np.zeros((channels, HOP), np.float32)
        self._overlap = np.zeros((channels, HOP))
        self._earlier = np.zeros((channels, 1, FRAME // 2 + 1))
        self._is_first = True

    def keep(self, window: Samples) -> None:
        """Nothing of it is needed."""

    def restore(self, heard: Samples, made: Samples) -> Samples:
        self._input = np.concatenate([self._input, made], axis=1)
        count = self._input.shape[1] // HOP - 1
        if count < 1:
            return made[:, :0]
        ready = self._input[:, : count * HOP] + self._invented(self._input[:, : (count + 1) * HOP])
        self._input = self._input[:, count * HOP :]
        skipped, self._is_first = HOP * self._is_first, False
        return ready[:, skipped:].astype(np.float32)

    def flush(self) -> Samples:
        silence = np.zeros((len(self._input), 2 * HOP), np.float32)
        return self.restore(silence, silence)

    def _invented(self, samples: Samples) -> Floats:
        """What is added to all but the last hop of whole frames."""
        spectrum = spectra(samples)
        frames = np.fft.irfft(self._shifted_up(spectrum)) * _WINDOW
        joined = np.pad(frames[..., :HOP].reshape(len(samples), -1), ((0, 0), (0, HOP)))
        joined[:, HOP:] += frames[..., HOP:].reshape(len(samples), -1)
        joined[:, :HOP] += self._overlap
        self._overlap = joined[:, -HOP:]
        return joined[:, :-HOP]

    def _shifted_up(self, spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
        power = np.square(np.abs(spectrum))
        bins = np.arange(self._edge, spectrum.shape[-1])
        first = self._edge - BELOW - PATCH
        shifted = np.zeros_like(spectrum)
        shifted[..., bins] = spectrum[..., first + (bins - self._edge) % PATCH]
        shifted[..., bins] *= self._gains(power, np.square(np.abs(shifted)))[..., bins]
        self._earlier = power[..., -1:, :]
        return shifted

    def _gains(self, power: Floats, shifted: Floats) -> Floats:
        """By which each bin of what was shifted up is multiplied, in straight lines from band to band."""
        wanted = 10 ** (told_ratios(features(power, self._earlier)) - CAUTION) * heard_total(power)
        found = band_powers(shifted, MADE_BINS)
        gains = np.sqrt(wanted / (found + LEAST_POWER)).clip(0, MOST_GAIN)
        whole = np.searchsorted(MADE_BINS[:-1], self._edge)
        gains[..., :whole] = gains[..., whole : whole + 1]
        interpolated: Floats = gains @ _LINES
        return interpolated
