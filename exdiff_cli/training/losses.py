"""Losses that both models learn by; spectra are compressed complex ``(batch, bins, frames)``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exdiff_cli.audio.spectral import SpectralConfig, synthesise
from exdiff_cli.training.disturbance import disturbance
from exdiff_cli.training.objective import Objective

SILENCE_ENERGY = 1e-4

LEAST_SCALE = 0.5
"""Amplitude of an estimate against its target's below which it counts as wrong, not as another volume."""

RELATIVE_WEIGHT = 0.25
"""Of the logarithm of a spectral error: about the error that is left in a mixture, so that both ways pull alike."""

RELATIVE_FLOOR = 0.003
"""Spectral error below which nothing is gained any more, as with silent targets; a tenth of what is usual."""

HEARING_THRESHOLD = 1e-4
"""Power of a band below which nothing is heard, about 60 dB below that of speech at the level of training."""

LOUDNESS_EXPONENT = 0.23
"""Of specific loudness over power (Zwicker and Fastl, Psychoacoustics, chapter 8)."""


def recompress(spectrum: Tensor, config: SpectralConfig, exponent: float) -> Tensor:
    """Amplitudes to the ``exponent`` of the uncompressed ones, for the loss alone."""
    power = spectrum.real.square() + spectrum.imag.square() + 1e-9
    return spectrum * (power.sqrt() / config.beta) ** (exponent / config.alpha - 1) / config.beta


def bark(hertz: Tensor) -> Tensor:
    """Critical-band rate (Traunmueller 1990, eq. 6)."""
    return 26.81 * hertz / (1960 + hertz) - 0.53


def pitch_weights(config: SpectralConfig, by_pitch: float) -> Tensor:
    """Weight of each bin, ``(bins,)``, 1 on average; ``by_pitch`` of it follows the ear's resolution.

    That is Bark per Hertz, the slope of :func:`bark`: half of it lies below 1 kHz, with an eighth of the bins.
    """
    resolution = (1960 + config.bin_hertz()).pow(-2)
    return 1 - by_pitch + by_pitch * resolution / resolution.mean()


def spectral_errors(estimate: Tensor, target: Tensor, config: SpectralConfig, objective: Objective) -> Tensor:
    """0.7 magnitude and 0.3 complex squared error, as PHASEN-like enhancers learn by.

    A mean weighted over the bins of each example, ``(batch,)``.
    """
    estimate, target = (recompress(each, config, objective.exponent) for each in (estimate, target))
    complex_error = torch.view_as_real(estimate - target).square().sum(-1)
    beyond = estimate.abs().clamp_min(1e-5) - target.abs()
    magnitude = beyond.square() * torch.where(beyond < 0, objective.missing, 1.0)
    weights = pitch_weights(config, objective.by_pitch).to(magnitude.device)
    return ((0.7 * magnitude + 0.3 * complex_error) * weights[:, None]).mean((-2, -1))


def spectral_loss(estimate: Tensor, target: Tensor, config: SpectralConfig, objective: Objective) -> Tensor:
    """Mean of the :func:`spectral_errors`, a scalar."""
    return spectral_errors(estimate, target, config, objective).mean()


def hearing_bands(config: SpectralConfig) -> Tensor:
    """Shares of bins in bands half a Bark apart, triangles that reach one Bark to both sides, ``(bands, bins)``."""
    pitch = bark(config.bin_hertz())
    centres = torch.arange(0.5, float(pitch[-1]), 0.5)
    return (1 - (pitch - centres[:, None]).abs()).clamp_min(0) / 2


def loudness(spectrum: Tensor, config: SpectralConfig) -> Tensor:
    """Specific loudness of bands, ``(batch, bands, frames)``, of a compressed spectrum; about 0 below the threshold."""
    power = (torch.view_as_real(spectrum).square().sum(-1) / config.beta**2) ** (1 / config.alpha)
    bands = hearing_bands(config).to(power.device) @ power.float()
    return (1 + bands / HEARING_THRESHOLD) ** LOUDNESS_EXPONENT - 1


def loudness_error(estimate: Tensor, target: Tensor, config: SpectralConfig) -> Tensor:
    """Mean absolute difference of loudness, a scalar, against that of a band of speech, about 10."""
    return (loudness(estimate, config) - loudness(target, config)).abs().mean() / 10


def si_sdr(estimate: Tensor, target: Tensor, least_scale: float = -math.inf) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of ``(batch, samples)``, dB (Le Roux et al. 2019, eq. 3).

    An estimate of another sign or of a small scale has the same ratio; with ``least_scale`` it is held against no
    less of the target than that.
    """
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-8)
    projection = scale.clamp_min(least_scale) * target
    error = (estimate - projection).square().sum(-1)
    return 10 * torch.log10((projection.square().sum(-1) + 1e-8) / (error + 1e-8))


def separation_loss(
    estimate: Tensor, target: Tensor, waveform: Tensor, config: SpectralConfig, objective: Objective
) -> Tensor:
    """Ten times the spectral loss, less 0.02 per dB of SI-SDR up to 30 dB where the target is not silent.

    Free in sign, the ratio once led a network to the mirrored signal, from where the spectral part did not lead back.

    ``waveform`` is the target's, ``(batch, samples)``. Where the objective is relative, the spectral part is the
    logarithm of each example's errors. Errors of loudness and a listener's disturbance are added by their weights.
    """
    errors = spectral_errors(estimate, target, config, objective)
    loss = RELATIVE_WEIGHT * (errors + RELATIVE_FLOOR).log().mean() if objective.relative else 10 * errors.mean()
    if objective.loudness:
        loss = loss + objective.loudness * loudness_error(estimate, target, config)
    audible = waveform.square().sum(-1) > SILENCE_ENERGY * waveform.shape[-1] * 1e-2
    if audible.any():
        synthesised, waveform = synthesise(estimate[audible], waveform.shape[-1], config), waveform[audible]
        loss = loss - 0.02 * si_sdr(synthesised, waveform, LEAST_SCALE).clamp_max(30).mean()
        if objective.disturbance:
            loss = loss + objective.disturbance * disturbance(synthesised, waveform).mean()
    return loss
