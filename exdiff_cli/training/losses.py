"""Losses that both models learn by; spectra are compressed complex ``(batch, bins, frames)``."""

from __future__ import annotations

import torch
from torch import Tensor

from exdiff_cli.audio.spectral import SpectralConfig, synthesise

SILENCE_ENERGY = 1e-4


def recompress(spectrum: Tensor, config: SpectralConfig, exponent: float) -> Tensor:
    """Amplitudes to the ``exponent`` of the uncompressed ones, for the loss alone."""
    power = spectrum.real.square() + spectrum.imag.square() + 1e-9
    return spectrum * (power.sqrt() / config.beta) ** (exponent / config.alpha - 1) / config.beta


def spectral_loss(estimate: Tensor, target: Tensor, config: SpectralConfig, exponent: float) -> Tensor:
    """0.7 magnitude and 0.3 complex squared error, mean over all, as PHASEN-like enhancers learn by."""
    estimate, target = recompress(estimate, config, exponent), recompress(target, config, exponent)
    complex_error = torch.view_as_real(estimate - target).square().sum(-1).mean()
    magnitude = (estimate.abs().clamp_min(1e-5) - target.abs()).square().mean()
    return 0.7 * magnitude + 0.3 * complex_error


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of ``(batch, samples)``, dB (Le Roux et al. 2019, eq. 3)."""
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-8)
    projection = scale * target
    error = (estimate - projection).square().sum(-1)
    return 10 * torch.log10((projection.square().sum(-1) + 1e-8) / (error + 1e-8))


def separation_loss(
    estimate: Tensor, target: Tensor, waveform: Tensor, config: SpectralConfig, exponent: float
) -> Tensor:
    """Ten times the spectral loss, less 0.02 per dB of SI-SDR up to 30 dB where the target is not silent.

    ``waveform`` is the target's, ``(batch, samples)``.
    """
    loss = 10 * spectral_loss(estimate, target, config, exponent)
    audible = waveform.square().sum(-1) > SILENCE_ENERGY * waveform.shape[-1] * 1e-2
    if audible.any():
        synthesised = synthesise(estimate[audible], waveform.shape[-1], config)
        loss = loss - 0.02 * si_sdr(synthesised, waveform[audible]).clamp_max(30).mean()
    return loss
