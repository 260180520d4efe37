"""How much an estimate disturbs a listener who knows the target, in a form that a network can learn by.

The psychoacoustic model of ITU-T P.862 (PESQ) for wide-band signals, without its alignment in time, which speech that
only went through a mask does not need. A filter's even colour and slow changes of gain are forgiven, loudness is
compared in bands of hearing, and sound that was added counts for more than sound that is missing. Constants and the
order of the steps are those of the standard's reference code, P.862.2's where they differ; signals are at 16 kHz.
Martin-Donas et al. 2018 (IEEE SPL 25(11), 1680-1684) learn by a simpler form of it, frame by frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

FRAME, HOP = 512, 256
SAMPLE_RATE = 16_000
LEVEL = 1e7
"""Mean power, within :data:`LEVEL_BAND`, that both signals are brought to."""

LEVEL_BAND = (325.0, 3250.0)
POWER_SCALE, LOUDNESS_SCALE = 6.910853e-6, 0.1866055
LOUDNESS_EXPONENT = 0.23
LOUDEST = 45.0
FAINTEST = 1e-5
"""Disturbance of a frame below which nothing changes: powers of smaller ones have no gradient in 32 bits."""

SYMMETRIC_WEIGHT, ASYMMETRIC_WEIGHT = 0.1, 0.0309
WINDOW, WINDOW_HOP = 20, 10
"""Frames that one distraction spoils, a third of a second, and how far the next such window begins."""

EMPHASIS = ((2.740826, -5.4816519, 2.740826), (1.0, -1.9444777, 0.94597794))
"""Numerator and denominator of the wide-band input filter (P.862.2)."""

# fmt: off
BAND_BINS = (
    1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6,
    7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20,
)
BAND_CORRECTION = (
    100, 100, 100, 100, 100, 100, 100, 100, 50, 100, 100, 100, 100, 100, 53.047, 110, 117.992, 65, 68.76, 70,
    71.429, 75, 76.843, 80.969, 88.646, 63.864, 68.155, 72.548, 75.585, 58.379, 80.951, 64.136, 54.385, 73.822,
    64.437, 59.176, 65.521, 61.4, 58.144, 57.005, 64.126, 54.311, 61.115, 55.078, 56.849, 55.629, 53.137, 54.986,
    79.547,
)
BAND_BARK = (
    0.157, 0.318, 0.322, 0.327, 0.331, 0.336, 0.341, 0.345, 0.35, 0.355, 0.36, 0.365, 0.37, 0.375, 0.38, 0.385,
    0.39, 0.395, 0.4, 0.406, 0.411, 0.416, 0.422, 0.427, 0.433, 0.439, 0.444, 0.45, 0.456, 0.462, 0.468, 0.474,
    0.48, 0.486, 0.492, 0.498, 0.504, 0.511, 0.517, 0.524, 0.53, 0.537, 0.544, 0.55, 0.557, 0.564, 0.571, 0.578,
    0.585,
)
BAND_THRESHOLD = (
    51286152, 2454709.5, 70794.59, 4897.789, 1174.898, 389.045, 104.713, 45.709, 17.783, 9.772, 4.898, 3.09, 1.905,
    1.259, 0.977, 0.724, 0.562, 0.457, 0.389, 0.331, 0.295, 0.269, 0.257, 0.251, 0.251, 0.251, 0.251, 0.263, 0.288,
    0.309, 0.339, 0.372, 0.398, 0.437, 0.468, 0.49, 0.501, 0.501, 0.513, 0.525, 0.525, 0.525, 0.513, 0.479, 0.427,
    0.372, 0.363, 0.417, 0.537,
)
# fmt: on


class Hearing(NamedTuple):
    """Constants of the ear: ``bank``, ``(bands, bins)``, with the input filter in it; ``level_bins``, ``(bins,)``, one
    where level is measured; by band its width in ``bark``, ``threshold`` of hearing and ``exponent`` of loudness.
    """

    bank: Tensor
    level_bins: Tensor
    bark: Tensor
    threshold: Tensor
    exponent: Tensor

    def audible(self, powers: Tensor, factor: float) -> Tensor:
        """Power in bands above ``factor`` times the threshold, ``(batch, frames)``."""
        return (powers * (powers > self.threshold * factor)).sum(-1)

    def loudness(self, powers: Tensor) -> Tensor:
        """Specific loudness after Zwicker, in sone per Bark, nothing below the threshold."""
        above = (0.5 + 0.5 * powers / self.threshold) ** self.exponent - 1
        loudness = LOUDNESS_SCALE * (2 * self.threshold) ** self.exponent * above
        return torch.where(powers > self.threshold, loudness, 0.0)

    def over_bands(self, disturbances: Tensor, order: float) -> Tensor:
        """A norm over the bands by their widths, but the lowest, ``(batch, frames)``."""
        widths = self.bark[1:]
        mean = (disturbances[..., 1:].abs() * widths).pow(order).sum(-1) / widths.sum()
        return mean.clamp_min(FAINTEST**2).pow(1 / order) * widths.sum()


@lru_cache
def hearing(device: torch.device) -> Hearing:
    """The constants on a device."""
    hertz = torch.arange(FRAME // 2 + 1) * SAMPLE_RATE / FRAME
    owner = torch.repeat_interleave(torch.arange(len(BAND_BINS)), torch.tensor(BAND_BINS))
    bank = torch.zeros(len(BAND_BINS), len(hertz))
    bank[owner, torch.arange(len(owner))] = POWER_SCALE * torch.tensor(BAND_CORRECTION)[owner]
    bank[:, 0] = 0
    delay = torch.exp(-2j * torch.pi * hertz / SAMPLE_RATE)
    delays = torch.stack([delay**power for power in range(3)])
    above, below = (torch.tensor(taps, dtype=delay.dtype) @ delays for taps in EMPHASIS)
    level_bins = ((hertz >= LEVEL_BAND[0]) & (hertz <= LEVEL_BAND[1])).float()
    bark, threshold = torch.tensor(BAND_BARK), torch.tensor(BAND_THRESHOLD)
    pitch = bark.cumsum(0) - bark / 2
    exponent = LOUDNESS_EXPONENT * (6 / (pitch + 2)).clamp(1, 2) ** 0.15
    response = (above / below).abs().square()
    return Hearing(*(each.to(device) for each in (bank * response, level_bins, bark, threshold, exponent)))


def band_powers(waveform: Tensor, ear: Hearing) -> Tensor:
    """Powers in bands, ``(batch, frames, bands)``, of waveforms brought to one level."""
    window = torch.hann_window(FRAME, device=waveform.device)
    spectrum = torch.stft(waveform, FRAME, HOP, window=window, center=False, return_complex=True)
    powers = torch.view_as_real(spectrum).square().sum(-1)
    # Parseval: a bin and its mirror, over the window's energy and the frame's samples.
    level = 2 * (ear.level_bins @ powers).mean(-1) / (window.square().sum() * FRAME)
    return (ear.bank @ (powers * (LEVEL / (level + 1e-12))[:, None, None])).transpose(1, 2)


def forgive_colour(target: Tensor, estimate: Tensor, ear: Hearing) -> Tensor:
    """The target with the estimate's mean colour, as far as 20 dB."""
    spoken = (ear.audible(target, 100) >= LEVEL)[..., None]
    means = [(each * (each > 100 * ear.threshold) * spoken).mean(1, keepdim=True) + 1000 for each in (estimate, target)]
    return target * (means[0] / means[1]).clamp(0.01, 100)


def forgive_gain(estimate: Tensor, target: Tensor, ear: Hearing) -> Tensor:
    """The estimate with the target's gain from frame to frame, smoothed."""
    gain = (ear.audible(target, 1) + 5e3) / (ear.audible(estimate, 1) + 5e3)
    gain = torch.cat((gain[:, :1], 0.8 * gain[:, 1:] + 0.2 * gain[:, :-1]), dim=1)
    return estimate * gain.clamp(3e-4, 5)[..., None]


def over_time(disturbances: Tensor) -> Tensor:
    """``(batch,)`` of ``(batch, frames)``: the worst of a third of a second counts, and of these the mean power."""
    windows = disturbances.unfold(1, min(WINDOW, disturbances.shape[1]), WINDOW_HOP)
    return windows.pow(6).mean(-1).pow(1 / 6).square().mean(1).sqrt()


def disturbance(estimate: Tensor, target: Tensor) -> Tensor:
    """By how much PESQ's raw score is below its best, 4.5, for ``(batch, samples)`` at 16 kHz; returns ``(batch,)``.

    Targets must not be silent, and at least one frame, 512 samples, is needed. Scale does not matter.
    """
    ear = hearing(estimate.device)
    with torch.autocast(estimate.device.type, enabled=False):  # Powers of faint bands are lost in half precision.
        wanted, heard = band_powers(target.float(), ear), band_powers(estimate.float(), ear)
    wanted = forgive_colour(wanted, heard, ear)
    heard = forgive_gain(heard, wanted, ear)
    loudness = ear.loudness(heard), ear.loudness(wanted)
    difference = loudness[0] - loudness[1]
    masked = 0.25 * torch.minimum(*loudness)
    audible = difference.sign() * (difference.abs() - masked).clamp_min(0)
    # What was added stands out where nothing of the target is near.
    added = ((heard + 50) / (wanted + 50)) ** 1.2
    added = torch.where(added < 3, 0.0, added).clamp(max=12)
    weight = ((ear.audible(wanted, 1) + 1e5) / 1e7) ** -0.04
    symmetric = ear.over_bands(audible, 2) * weight
    asymmetric = ear.over_bands(audible * added, 1) * weight
    parts = [over_time(each.clamp(FAINTEST, LOUDEST)) for each in (symmetric, asymmetric)]
    return SYMMETRIC_WEIGHT * parts[0] + ASYMMETRIC_WEIGHT * parts[1]
