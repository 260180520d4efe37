"""Generated sound: levels, rooms, lines and the arithmetic under them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from exdiff_cli.training import synthesis
from exdiff_cli.training.synthesis import Draw

SAMPLES = 8000
Generator = Callable[[Draw, int, int], Tensor]


def draw(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


def rms(signal: Tensor) -> Tensor:
    return signal.square().mean(-1).sqrt()


@pytest.mark.parametrize(
    "generate", [synthesis.coloured_noise, synthesis.machine_noise, synthesis.impacts, synthesis.rumble]
)
def test_generated_noise(generate: Generator) -> None:
    noise = generate(draw(), 5, SAMPLES)
    assert noise.shape == (5, SAMPLES)
    torch.testing.assert_close(rms(noise), torch.ones(5), atol=1e-3, rtol=0)
    assert torch.equal(noise, generate(draw(), 5, SAMPLES))
    assert not torch.equal(noise, generate(draw(1), 5, SAMPLES))
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.9


def test_rumble_lies_below_most_of_a_voice() -> None:
    energy = torch.fft.rfft(synthesis.rumble(draw(), 40, SAMPLES)).abs().square()
    share = energy[:, : 500 * SAMPLES // 16_000].sum(-1) / energy.sum(-1)
    assert share.median() > 0.9


def test_smearing_leaves_no_direct_sound() -> None:
    click = torch.zeros(20, SAMPLES)
    click[:, 100] = 1
    smeared = synthesis.smear(draw(), click)
    assert smeared.shape == click.shape
    assert smeared[:, :100].abs().max() < 1e-4
    assert (smeared[:, 100 + 240 :].square().sum(-1) > 0.1 * smeared.square().sum(-1)).float().mean() > 0.5


def test_draws_lie_in_their_ranges() -> None:
    values = draw().log_uniform(4000, low=0.1, high=10)
    assert values.min() >= 0.1
    assert values.max() <= 10
    assert values.log().mean().item() == pytest.approx(0, abs=0.1)
    assert draw().chance(4000, 0.3).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert set(draw().integers(200, 3).tolist()) == {0, 1, 2}


def test_unit_level_leaves_silence_silent() -> None:
    levelled = synthesis.unit_level(torch.stack((torch.zeros(50), torch.full((50,), 4.0))))
    assert torch.equal(levelled[0], torch.zeros(50))
    torch.testing.assert_close(levelled[1], torch.ones(50))


def test_convolution_equals_the_direct_sum() -> None:
    signal, response = draw(1).normal(2, 300), draw(2).normal(2, 40)
    expected = [np.convolve(a, b)[:300] for a, b in zip(signal.numpy(), response.numpy(), strict=True)]
    result = synthesis.fft_convolve(signal, response)
    torch.testing.assert_close(result, torch.from_numpy(np.stack(expected)), atol=1e-4, rtol=1e-4)


def test_equalising_by_nothing_changes_nothing() -> None:
    signal = draw(1).normal(3, SAMPLES)
    torch.testing.assert_close(synthesis.equalise(draw(), signal, 0.0), signal, atol=1e-5, rtol=1e-5)
    changed = synthesis.equalise(draw(), signal, 6.0)
    ratio = torch.fft.rfft(changed).abs() / torch.fft.rfft(signal).abs()
    decibels = 20 * ratio.log10()
    assert decibels.std(-1).min() > 1
    assert decibels.abs().max() < 6 * 5


def test_rooms_keep_the_direct_sound_and_the_early_part() -> None:
    response, early = synthesis.room_responses(draw(), 6)
    cut = int(0.03 * 16_000)
    assert (response[:, 0] == 1).all()
    assert torch.equal(response[:, :cut], early[:, :cut])
    assert not early[:, cut:].any()
    assert response[:, cut:].any(-1).all()
    energy = response[:, 1:].square()
    assert (energy[:, :4000].sum(-1) > energy[:, 4000:].sum(-1)).all()


def test_telephone_band() -> None:
    gain = synthesis.telephone_band(draw(), 4, SAMPLES)
    hertz = torch.arange(SAMPLES // 2 + 1) * 16_000 / SAMPLES
    assert gain.shape == (4, SAMPLES // 2 + 1)
    assert (gain[:, (hertz > 600) & (hertz < 2800)] > 0.95).all()
    assert (gain[:, hertz > 4300] < 0.01).all()


def test_mu_law_has_256_values_near_the_input() -> None:
    signal = torch.linspace(-1, 1, 20_001)
    coded = synthesis.mu_law(signal)
    assert 200 < len(set(coded.tolist())) <= 256
    step = math.log(256) / 128
    assert ((coded - signal).abs() <= step * signal.abs() + step / 255).all()
    torch.testing.assert_close(synthesis.mu_law(coded), coded)
    assert synthesis.mu_law(torch.zeros(3)).tolist() == [0, 0, 0]
