"""Losses: what they reward, and that silence never breaks them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from exdiff_cli.audio.spectral import SMALL, analyse, stft
from exdiff_cli.training.disturbance import disturbance
from exdiff_cli.training.losses import (
    hearing_bands,
    loudness,
    loudness_error,
    recompress,
    separation_loss,
    si_sdr,
    spectral_loss,
)
from exdiff_cli.training.objective import Objective


def signal(seed: int, samples: int = 4000, batch: int = 2) -> Tensor:
    return 0.05 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def spectrum(waveform: Tensor) -> Tensor:
    return analyse(waveform, SMALL)


def test_si_sdr_of_a_known_mixture() -> None:
    target, error = signal(1, batch=1), signal(2, batch=1)
    error = error - (error * target).sum() / target.square().sum() * target
    error = 0.1 * error / error.norm() * target.norm()
    torch.testing.assert_close(si_sdr(target + error, target), torch.tensor([20.0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_si_sdr_ignores_scale(scale: float) -> None:
    estimate, target = signal(1) + 0.3 * signal(2), signal(1)
    torch.testing.assert_close(si_sdr(scale * estimate, target), si_sdr(estimate, target), atol=1e-2, rtol=0)


def test_si_sdr_with_a_least_scale_minds_sign_and_volume() -> None:
    target = signal(1)
    estimate = target + 0.3 * signal(2)
    for scale in (0.6, 1.0, 3.0):
        torch.testing.assert_close(si_sdr(scale * estimate, target, 0.5), si_sdr(scale * estimate, target))
    plain = si_sdr(estimate, target)
    assert (si_sdr(0.2 * estimate, target, 0.5) < plain - 3).all()
    assert (si_sdr(-estimate, target, 0.5) < 0).all()


@pytest.mark.parametrize("relative", [False, True])
def test_a_mirrored_estimate_is_led_back(relative: bool) -> None:
    """From the mirrored signal the loss falls with every part of the way to silence, and on to the signal."""
    waveform = signal(1)
    objective = Objective(relative=relative)
    losses = [
        separation_loss(spectrum(scale * waveform), spectrum(waveform), waveform, SMALL, objective).item()
        for scale in (-1.0, -0.4, -0.1, 0.1, 0.4, 0.8, 1.0)
    ]
    assert all(further > nearer for further, nearer in pairwise(losses))


def test_perfect_estimate_is_at_the_clamp() -> None:
    waveform = signal(1)
    loss = separation_loss(spectrum(waveform), spectrum(waveform), waveform, SMALL, Objective())
    torch.testing.assert_close(loss, torch.tensor(-0.02 * 30))


def test_better_estimate_costs_less() -> None:
    waveform = signal(1)
    target = spectrum(waveform)
    losses = [
        [
            spectral_loss(spectrum(waveform + part * signal(2)), target, SMALL, Objective()).item(),
            separation_loss(spectrum(waveform + part * signal(2)), target, waveform, SMALL, Objective()).item(),
        ]
        for part in (0.05, 0.2, 1.0)
    ]
    for better, worse in pairwise(losses):
        assert better[0] < worse[0]
        assert better[1] < worse[1]


@pytest.mark.parametrize("exponent", [0.3, 0.5])
def test_spectral_loss_of_known_errors(exponent: float) -> None:
    """A quarter turn leaves the magnitude part at zero; the complex one is twice the squared magnitude."""
    target = 0.15 * torch.ones(1, SMALL.bins, 5, dtype=torch.complex64)
    ones = torch.ones(1, SMALL.bins, 5)
    torch.testing.assert_close(recompress(target, SMALL, exponent).abs(), ones, atol=1e-5, rtol=0)
    turned = spectral_loss(1j * target, target, SMALL, Objective(exponent))
    torch.testing.assert_close(turned, torch.tensor(0.3 * 2), atol=1e-4, rtol=0)


def test_errors_at_low_pitch_weigh_more_and_the_whole_weighs_the_same() -> None:
    target = torch.ones(1, SMALL.bins, 5, dtype=torch.complex64)
    low = (SMALL.bin_hertz() < 1000)[:, None]
    losses = {
        (name, share): spectral_loss(target * (1 + 0.1 * part), target, SMALL, Objective(0.5, by_pitch=share)).item()
        for name, part in (("low", low), ("high", ~low), ("all", torch.ones_like(low)))
        for share in (0.0, 1.0)
    }
    assert losses["low", 1.0] == pytest.approx(losses["all", 1.0] / 2, rel=0.2)  # 8.5 of 19.6 Bark are below 1 kHz.
    assert losses["low", 0.0] == pytest.approx(losses["all", 0.0] / 8, rel=0.01)
    assert losses["all", 1.0] == pytest.approx(losses["all", 0.0], rel=1e-5)
    assert losses["low", 1.0] + losses["high", 1.0] == pytest.approx(losses["all", 1.0], rel=1e-5)


@pytest.mark.parametrize("exponent", [0.3, 0.5])
def test_recompressed_amplitudes_have_the_exponent_of_the_loss(exponent: float) -> None:
    waveform = signal(1)
    expected = stft(waveform, SMALL).abs() ** exponent
    torch.testing.assert_close(recompress(spectrum(waveform), SMALL, exponent).abs(), expected, atol=2e-2, rtol=2e-2)


def test_restoration_settles_on_louder_sound_where_it_cannot_know() -> None:
    """Of targets that are silent half the time, the best constant estimate is the mean of the powered amplitude."""
    target = torch.stack((torch.zeros(SMALL.bins, 4), torch.ones(SMALL.bins, 4))).to(torch.complex64)
    best = {}
    for exponent in (0.3, 0.5):
        amplitudes = torch.linspace(0.01, 0.5, 200)
        guesses = [torch.full_like(target, SMALL.beta * float(amplitude) ** SMALL.alpha) for amplitude in amplitudes]
        losses = torch.stack(
            [spectral_loss(guess, SMALL.beta * target, SMALL, Objective(exponent)) for guess in guesses],
        )
        best[exponent] = float(amplitudes[losses.argmin()])
        assert best[exponent] == pytest.approx(0.5 ** (1 / exponent), abs=4e-3)
    assert best[0.5] > 2 * best[0.3]


def test_relative_loss_pulls_alike_at_every_level_of_noise() -> None:
    """The gain of a mixture whose error is halved does not depend on how much there was; without it, it does."""
    target, noise = spectrum(signal(1)), spectrum(signal(2))
    gains = {
        relative: [
            float(
                separation_loss(target + part * noise, target, torch.zeros(2, 4000), SMALL, objective)
                - separation_loss(target + part / 2**0.5 * noise, target, torch.zeros(2, 4000), SMALL, objective)
            )
            for part in (0.3, 0.6)
        ]
        for relative, objective in ((each, Objective(by_pitch=0.0, relative=each)) for each in (False, True))
    }
    assert gains[True][1] == pytest.approx(gains[True][0], rel=0.15)
    assert gains[False][1] > 3 * gains[False][0]


def test_missing_sound_weighs_more_than_sound_that_is_too_loud() -> None:
    """Of a target that is silent half the time, the best constant estimate rises with the weight of what is missing."""
    target = torch.stack((torch.zeros(SMALL.bins, 4), torch.ones(SMALL.bins, 4))).to(torch.complex64)
    guesses = torch.linspace(0.01, 0.99, 99)

    def best(missing: float) -> float:
        aim, full = Objective(missing=missing), torch.ones_like(target)
        losses = torch.stack([spectral_loss(guess * full, target, SMALL, aim) for guess in guesses])
        return float(guesses[losses.argmin()])

    assert best(1.0) == pytest.approx(0.5, abs=0.02)
    # 0.7 of the error weigh three times as much, the complex 0.3 do not: (3 * 0.7 + 0.3) / (3 * 0.7 + 0.3 + 1).
    assert best(3.0) == pytest.approx(2.4 / 3.4, abs=0.02)


def test_bands_of_hearing_share_every_bin_among_them() -> None:
    bands = hearing_bands(SMALL)
    inner = (SMALL.bin_hertz() > 150) & (SMALL.bin_hertz() < 7000)
    torch.testing.assert_close(bands.sum(0)[inner], torch.ones(int(inner.sum())))
    widths = (bands > 0).sum(-1)
    assert widths[0] <= 8  # a quarter of a kilohertz
    assert widths[-3] > 5 * widths[0]


def test_loudness_grows_as_hearing_has_it() -> None:
    """Ten times the power, 10 dB, is 1.7 times as loud, and below the threshold nothing is heard."""
    faint, loud = (loudness(spectrum(level * signal(1)), SMALL).mean() for level in (1.0, 10**0.5))
    assert float(loud / faint) == pytest.approx(10**0.23, rel=0.05)
    assert loudness(spectrum(1e-4 * signal(1)), SMALL).max() < 0.05
    assert loudness(torch.zeros(1, SMALL.bins, 3, dtype=torch.complex64), SMALL).max() == 0


def test_loudness_keeps_the_energy_of_what_cannot_be_known() -> None:
    """Of noise, the best estimate of one amplitude for all bins is too quiet in every bin, but not in the bands."""
    generator = torch.Generator().manual_seed(4)
    sound = torch.randn(1, SMALL.bins, 400, generator=generator, dtype=torch.complex64)
    target = SMALL.beta * sound / sound.abs().sqrt()
    energies = torch.linspace(0.4, 1.3, 91)
    guesses = [target / target.abs() * SMALL.beta * energy**0.25 for energy in energies]
    by_bins = torch.stack([spectral_loss(guess, target, SMALL, Objective()) for guess in guesses]).argmin()
    by_bands = torch.stack([loudness_error(guess, target, SMALL) for guess in guesses]).argmin()
    assert energies[by_bins] == pytest.approx(0.68, abs=0.03)  # The mean of roots of amplitudes, to the fourth power.
    assert energies[by_bands] > 0.85


def test_loudness_is_added_by_its_weight() -> None:
    waveform, other = signal(1), spectrum(signal(2))
    target = spectrum(waveform)
    plain, more = (separation_loss(other, target, waveform, SMALL, Objective(loudness=weight)) for weight in (0.0, 2.0))
    torch.testing.assert_close(more - plain, 2 * loudness_error(other, target, SMALL))
    assert loudness_error(target, target, SMALL) == 0


def test_disturbance_is_added_by_its_weight_where_the_target_is_not_silent() -> None:
    waveform = torch.cat((signal(1), torch.zeros(1, 4000)))
    other = waveform + signal(2, batch=3)
    plain, more = (
        separation_loss(spectrum(other), spectrum(waveform), waveform, SMALL, Objective(disturbance=weight))
        for weight in (0.0, 2.0)
    )
    torch.testing.assert_close(more - plain, 2 * disturbance(other[:2], waveform[:2]).mean(), rtol=1e-3, atol=0)


def test_silent_targets_leave_si_sdr_out() -> None:
    waveform = torch.cat((signal(1, batch=1), torch.zeros(1, 4000)))
    estimate = spectrum(waveform + 0.1 * signal(2))
    both = separation_loss(estimate, spectrum(waveform), waveform, SMALL, Objective())
    ratio = both - 10 * spectral_loss(estimate, spectrum(waveform), SMALL, Objective())
    torch.testing.assert_close(ratio, torch.tensor(-0.02 * 20), atol=0.02, rtol=0)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_gradient_is_finite_in_silence(level: float) -> None:
    """Silent target and estimate together, and each beside the other's sound."""
    quiet = torch.zeros(2, 256, 17, dtype=torch.complex64, requires_grad=True)
    loud = (level * spectrum(signal(3))).requires_grad_()
    for estimate, waveform in ((quiet, level * signal(1)), (loud, torch.zeros(2, 4000))):
        loss = separation_loss(estimate, spectrum(waveform), waveform, SMALL, Objective(loudness=1.0, disturbance=1.0))
        (gradient,) = torch.autograd.grad(loss, estimate)
        assert loss.isfinite()
        assert gradient.isfinite().all()
