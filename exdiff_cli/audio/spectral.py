"""The one short-time Fourier transform that both models share.

Waveforms are ``(batch, samples)`` float tensors; spectra are complex ``(batch, bins, frames)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SpectralConfig:
    """Shape of the transform and of the amplitude compression.

    ``alpha`` and ``beta`` follow SGMSE+ (Richter et al. 2023, section IV-A):
    ``beta * |z|**alpha * exp(i * angle z)``.
    """

    sample_rate: int = 16_000
    n_fft: int = 510
    hop: int = 256
    window: str = "sqrt_hann"
    alpha: float = 0.5
    beta: float = 0.15

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def frames_per_second(self) -> float:
        return self.sample_rate / self.hop

    def bin_hertz(self) -> Tensor:
        """Centre frequency of each bin, ``(bins,)``, in Hertz."""
        return torch.arange(self.bins) * (self.sample_rate / self.n_fft)


LEVEL_RMS = 0.05
"""Level that every mixture is brought to before it is analysed, in training as in use."""

SMALL = SpectralConfig()
BASE = SpectralConfig(hop=128, window="hann")


def _window(config: SpectralConfig, device: torch.device) -> Tensor:
    hann = torch.hann_window(config.n_fft, periodic=True, device=device)
    return hann.sqrt() if config.window == "sqrt_hann" else hann


def frame_count(samples: int, config: SpectralConfig) -> int:
    """Number of frames that :func:`stft` returns for ``samples`` samples."""
    return -(-samples // config.hop) + 1


def stft(waveform: Tensor, config: SpectralConfig) -> Tensor:
    """Analyse ``(batch, samples)`` into complex ``(batch, bins, frames)``.

    The signal is centred and padded with zeros to whole hops, so that every sample lies under the same
    window weights and :func:`istft` gives it back exactly.
    """
    samples = waveform.shape[-1]
    half = config.n_fft // 2
    padded = F.pad(waveform, (half, half + -samples % config.hop))
    spectrum = torch.stft(
        padded,
        config.n_fft,
        hop_length=config.hop,
        window=_window(config, waveform.device),
        center=False,
        return_complex=True,
    )
    return spectrum[..., : frame_count(samples, config)]


def istft(spectrum: Tensor, length: int, config: SpectralConfig) -> Tensor:
    """Synthesise ``(batch, bins, frames)`` into ``(batch, length)`` by least-squares overlap-add."""
    return torch.istft(
        spectrum,
        config.n_fft,
        hop_length=config.hop,
        window=_window(config, spectrum.device),
        center=True,
        length=length,
    )


def magnitude(spectrum: Tensor) -> Tensor:
    """The magnitude of complex numbers. On a CPU ``abs()`` takes three times as long."""
    # On a GPU that is one kernel; and the gradient of a root is not finite at zero.
    if spectrum.is_cuda or spectrum.requires_grad:
        return spectrum.abs()
    squares = torch.view_as_real(spectrum).square()
    return (squares[..., 0] + squares[..., 1]).sqrt()


def compress(spectrum: Tensor, config: SpectralConfig) -> Tensor:
    """Compress amplitudes, keep phases; zero stays zero without a division by it."""
    gain = config.beta * magnitude(spectrum).clamp_min(1e-8) ** (config.alpha - 1)
    return spectrum * gain


def expand(compressed: Tensor, config: SpectralConfig) -> Tensor:
    """Undo :func:`compress`."""
    gain = (magnitude(compressed) / config.beta) ** (1 / config.alpha - 1) / config.beta
    return compressed * gain


def analyse(waveform: Tensor, config: SpectralConfig) -> Tensor:
    """What the models see of ``(batch, samples)``: the compressed spectrum, ``(batch, bins, frames)``."""
    return compress(stft(waveform, config), config)


def synthesise(spectrum: Tensor, length: int, config: SpectralConfig) -> Tensor:
    """The waveforms ``(batch, length)`` of what a model gives: undoes :func:`analyse`."""
    return istft(expand(spectrum, config), length, config)
