"""The shared transform: it must lose nothing, at any length, and never divide by silence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exdiff_cli.audio.spectral import (
    BASE,
    SMALL,
    SpectralConfig,
    analyse,
    compress,
    expand,
    frame_count,
    istft,
    magnitude,
    stft,
    synthesise,
)

CONFIGS = [SMALL, BASE]


def noise(samples: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("samples", [1, 100, 255, 509, 511, 4096, 5001])
def test_synthesis_gives_every_sample_back(config: SpectralConfig, samples: int) -> None:
    waveform = noise(samples)
    spectrum = stft(waveform, config)
    assert spectrum.shape == (2, 256, frame_count(samples, config))
    torch.testing.assert_close(istft(spectrum, samples, config), waveform, atol=2e-5, rtol=0)


@pytest.mark.parametrize("config", CONFIGS)
def test_frames_start_with_each_hop(config: SpectralConfig) -> None:
    counts = [frame_count(samples, config) for samples in (1, config.hop, config.hop + 1, 10 * config.hop)]
    assert counts == [2, 2, 3, 11]
    assert config.frames_per_second == 16_000 / config.hop


def test_tone_peaks_at_its_frequency() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16_000)[None]
    loudest = stft(tone, SMALL).abs().mean(-1).argmax()
    hertz = SMALL.bin_hertz()
    assert hertz.shape == (256,)
    assert abs(float(hertz[loudest]) - 1000) < 16_000 / 510 / 2


def test_compression_takes_the_root_and_keeps_the_phase() -> None:
    spectrum = torch.tensor([[[3 + 4j, -4 + 0j, -0.01j]]], dtype=torch.complex64)
    compressed = compress(spectrum, SMALL)
    torch.testing.assert_close(compressed.abs()[0, 0], 0.15 * torch.tensor([5.0, 4.0, 0.01]).sqrt())
    torch.testing.assert_close(compressed.angle(), spectrum.angle())


@pytest.mark.parametrize("alpha", [0.5, 0.3])
def test_expansion_undoes_compression(alpha: float) -> None:
    config = SpectralConfig(alpha=alpha)
    spectrum = stft(noise(4000), config) * torch.logspace(-4, 2, 256)[:, None]
    torch.testing.assert_close(expand(compress(spectrum, config), config), spectrum, rtol=1e-4, atol=1e-7)


def test_silence_stays_silent_with_finite_gradients() -> None:
    waveform = torch.zeros(1, 2000, requires_grad=True)
    result = synthesise(analyse(waveform, SMALL), 2000, SMALL)
    assert torch.equal(result, torch.zeros(1, 2000))
    (gradient,) = torch.autograd.grad(result.square().sum() + result.sum(), waveform)
    assert gradient.isfinite().all()


def test_a_magnitude_is_what_abs_gives_and_its_gradient_at_zero_is_finite() -> None:
    spectrum = torch.randn(2, 5, 7, dtype=torch.complex64, generator=torch.Generator().manual_seed(4))
    spectrum[0, 0] = 0
    torch.testing.assert_close(magnitude(spectrum), spectrum.abs())
    trained = spectrum.requires_grad_()
    (gradient,) = torch.autograd.grad(magnitude(trained).sum(), trained)
    assert gradient.isfinite().all()
