"""Which channels of a segment are enhanced together: equal ones once, the two of a stereo image by one mask.

A call with a speaker on either channel has two of its own. Where both hear the same sound, two masks would differ
from moment to moment, and the image would wander.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.spectral import SMALL, istft, stft

COHERENT = 0.6
"""From here on two channels are one image; see :func:`coherence`."""

IN_PHASE = 0.5
"""From this correlation on their sum is what the models hear, in which noise of one channel weighs less."""

LARGEST_GAIN = 2.0
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Part:
    """Channels that are enhanced together, and the ``signal`` ``(length,)`` that the models hear for them."""

    channels: tuple[int, ...]
    signal: Samples

    def is_image(self, segment: Samples) -> bool:
        """Whether its channels, rows of ``segment``, differ."""
        return any(not np.array_equal(segment[channel], self.signal) for channel in self.channels)

    def spread(self, enhanced: Samples, segment: Samples) -> Samples:
        """What the part's channels, rows of ``segment``, become where ``signal`` became ``enhanced``."""
        own = segment[list(self.channels)]
        if self.is_image(segment):
            return apply_mask(own, self.signal, enhanced)
        return np.broadcast_to(enhanced, own.shape)


def parts_of(segment: Samples) -> list[Part]:
    """The parts of ``(channels, length)``, in the order of their first channels; each channel is in one of them."""
    groups: dict[bytes, list[int]] = {}
    for channel, row in enumerate(segment):
        groups.setdefault(row.tobytes(), []).append(channel)
    if len(segment) == len(groups) == 2 and coherence(segment) >= COHERENT:
        return [Part((0, 1), _heard(segment))]
    return [Part(tuple(channels), segment[channels[0]]) for channels in groups.values()]


def coherence(pair: Samples) -> float:
    """How much of two channels ``(2, length)`` is the same sound, whatever its level and delay in each: 0 to 1.

    The magnitude of the coherence of both, each bin over all frames, in the mean of bins by their energy.
    """
    left, right = _spectra(pair)
    power = (left.abs().square().sum(-1) * right.abs().square().sum(-1)).sqrt()
    cross = (left * right.conj()).sum(-1).abs()
    return float(cross.sum() / power.sum().clamp_min(TINY))


def _heard(pair: Samples) -> Samples:
    """Mean of both channels, or the louder one where they would cancel each other out."""
    energies = np.square(pair, dtype=np.float64).sum(axis=1)
    if np.dot(*pair.astype(np.float64)) >= IN_PHASE * np.sqrt(energies.prod()):
        return pair.mean(axis=0, dtype=np.float32)
    return pair[energies.argmax()]


def apply_mask(channels: Samples, signal: Samples, enhanced: Samples) -> Samples:
    """Turn ``channels`` ``(n, length)`` in every bin as ``signal`` was turned to become ``enhanced``.

    Levels and phases between the channels stay as they are.
    """
    first, became = _spectra(np.stack([signal, enhanced]))
    mask = became * first.conj() / first.abs().square().clamp_min(TINY)
    mask = mask * (LARGEST_GAIN / mask.abs().clamp_min(LARGEST_GAIN))
    turned = istft(_spectra(channels) * mask, channels.shape[-1], SMALL)
    return turned.numpy()


def _spectra(signals: Samples) -> Tensor:
    return stft(torch.from_numpy(np.ascontiguousarray(signals)), SMALL)
