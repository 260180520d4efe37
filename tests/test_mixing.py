"""Mixtures: repeatable, at one level, and with the shares and ratios that a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from exdiff_cli.audio.spectral import LEVEL_RMS
from exdiff_cli.training import mixing
from exdiff_cli.training.mixing import Mixture, Recipe, active_level, mix, plain_windows, read_windows
from exdiff_cli.training.pool import Pool, TrainingAudio
from exdiff_cli.training.synthesis import Draw

RECIPE = Recipe(seconds=1.0)
PLAIN = replace(
    RECIPE,
    room_share=0.0,
    telephone_share=0.0,
    silence_share=0.0,
    noise_only_share=0.0,
    clean_share=0.0,
    dropout_share=0.0,
)
COUNT = 16


def make(audio: TrainingAudio, recipe: Recipe = RECIPE, seed: int = 0, step: int = 0) -> Mixture:
    return mix(audio.speech, audio.noise, recipe, COUNT, seed, step)


def draw(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


def tone_pool(hertz: float, samples: int = 32_000) -> Pool:
    wave = 16_000 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / 16_000)
    return Pool(wave.round().to(torch.int16), torch.tensor([0]), torch.tensor([samples]), ("wave",))


def share_above(signal: Tensor, hertz: float) -> Tensor:
    """Share of the energy of ``(batch, samples)`` above a frequency, ``(batch,)``."""
    energy = torch.fft.rfft(signal).abs().square()
    return energy[:, int(hertz * signal.shape[-1] / 16_000) :].sum(-1) / energy.sum(-1)


def test_batch_is_a_function_of_seed_and_step(training_audio: TrainingAudio) -> None:
    first, again = make(training_audio, seed=3, step=5), make(training_audio, seed=3, step=5)
    assert torch.equal(first.mixture, again.mixture)
    assert torch.equal(first.speech, again.speech)
    for seed, step in ((3, 6), (4, 5)):
        assert not torch.allclose(first.mixture, make(training_audio, seed=seed, step=step).mixture)


@pytest.mark.parametrize("step", range(4))
def test_every_mixture_is_at_the_training_level(training_audio: TrainingAudio, step: int) -> None:
    made = make(training_audio, step=step)
    assert made.mixture.shape == made.speech.shape == (COUNT, 16_000)
    assert made.mixture.isfinite().all()
    assert made.speech.isfinite().all()
    level = made.mixture.square().mean(-1).sqrt()
    torch.testing.assert_close(level, torch.full((COUNT,), LEVEL_RMS), rtol=1e-4, atol=0)
    torch.testing.assert_close(made.speech + made.noise, made.mixture)


@pytest.mark.parametrize("snr", [(-5.0, 0.0), (3.0, 9.0), (20.0, 20.0)])
def test_snr_lies_in_the_range_asked_for(training_audio: TrainingAudio, snr: tuple[float, float]) -> None:
    made = make(training_audio, replace(PLAIN, snr=snr))
    ratio = 20 * (active_level(made.speech)[:, 0] / made.noise.square().mean(-1).sqrt()).log10()
    assert ratio.min() >= snr[0] - 0.05
    assert ratio.max() <= snr[1] + 0.05


def test_mixture_without_noise_is_its_speech(training_audio: TrainingAudio) -> None:
    made = make(training_audio, replace(PLAIN, snr=(90.0, 90.0)))
    torch.testing.assert_close(made.mixture, made.speech, atol=1e-4, rtol=0)


def test_clean_rows_have_little_noise_or_none(training_audio: TrainingAudio) -> None:
    made = make(training_audio, replace(PLAIN, clean_share=1.0))
    level = made.noise.square().mean(-1).sqrt() / made.speech.square().mean(-1).sqrt().clamp_min(1e-9)
    assert level.max() < 10 ** (-20 / 20)
    assert 0 < (level < 1e-6).sum() < COUNT
    some = make(training_audio, replace(PLAIN, clean_share=0.5, snr=(0.0, 5.0)))
    quiet = some.noise.square().mean(-1).sqrt() < 0.1 * some.speech.square().mean(-1).sqrt()
    assert 0 < quiet.sum() < COUNT


def test_nothing_arrives_for_a_part(training_audio: TrainingAudio) -> None:
    made = make(training_audio, replace(PLAIN, dropout_share=1.0))
    gone = made.mixture == 0
    assert ((gone.float().mean(-1) > 0.09) & (gone.float().mean(-1) < 0.72)).all()
    assert not made.speech[gone].any()


def test_noise_only_rows_have_a_silent_target(training_audio: TrainingAudio) -> None:
    made = make(training_audio, replace(RECIPE, noise_only_share=1.0))
    assert not made.speech.any()
    some = make(training_audio, replace(RECIPE, noise_only_share=0.5))
    silent = ~some.speech.any(-1)
    assert 0 < silent.sum() < COUNT


def test_active_level_ignores_pauses() -> None:
    speech = 0.3 * draw().normal(1, 10 * 512)
    paused = torch.cat((speech, torch.zeros(1, 30 * 512)), dim=1)
    torch.testing.assert_close(active_level(paused), speech.square().mean(-1, keepdim=True).sqrt())
    assert active_level(torch.zeros(2, 4096)).tolist() == [[0], [0]]


def test_muted_part_leads_or_trails() -> None:
    speech = torch.ones(50, 1000)
    assert torch.equal(mixing.mute_part(draw(), speech, 0.0), speech)
    muted = mixing.mute_part(draw(), speech, 1.0) == 0
    assert ((muted.float().mean(-1) > 0.09) & (muted.float().mean(-1) < 0.71)).all()
    assert (muted[:, 0] ^ muted[:, -1]).all()
    assert muted[:, 0].any()
    assert muted[:, -1].any()
    assert ((muted[:, 1:] != muted[:, :-1]).sum(-1) == 1).all()


def test_texture_is_of_unit_level_and_no_talk(training_audio: TrainingAudio) -> None:
    made = mixing.texture(draw(), training_audio.speech, training_audio.noise, RECIPE, COUNT)
    assert made.shape == (COUNT, RECIPE.samples)
    torch.testing.assert_close(made.square().mean(-1).sqrt(), torch.ones(COUNT), atol=1e-3, rtol=0)
    assert torch.corrcoef(made).fill_diagonal_(0).abs().max() < 0.9


def test_noise_comes_in_the_shares_asked_for(training_audio: TrainingAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, int] = {}

    def made(name: str) -> Callable[..., Tensor]:
        def noise(*arguments: object) -> Tensor:
            count = arguments[1] if name == "generated" else arguments[-1]
            assert isinstance(count, int)
            asked[name] = asked.get(name, 0) + count
            return torch.ones(count, 8)

        return noise

    for name in ("babble", "texture", "real_noise"):
        monkeypatch.setattr(mixing, name, made(name))
    monkeypatch.setattr(mixing, "GENERATED", dict.fromkeys(RECIPE.generators, made("generated")))
    recipe = Recipe(seconds=8 / 16_000, babble_share=0.1, generated_share=0.4, texture_share=0.2)
    mixing._one_noise(draw(), training_audio.speech, training_audio.noise, recipe, 2000)
    assert {name: count / 2000 for name, count in asked.items()} == {
        "babble": pytest.approx(0.1, abs=0.03),
        "generated": pytest.approx(0.4, abs=0.04),
        "texture": pytest.approx(0.2, abs=0.03),
        "real_noise": pytest.approx(0.3, abs=0.04),
    }


def test_microphones_colour_a_share_of_the_talk() -> None:
    speech = draw(1).normal(200, 2000)
    recipe = replace(RECIPE, colour_share=0.3)
    untouched = (mixing.through_microphones(draw(), speech, recipe) == speech).all(-1).float().mean()
    assert untouched == pytest.approx(0.7, abs=0.1)
    flat = mixing.through_microphones(draw(), speech, replace(recipe, colour_share=1.0, colour_decibels=0.0))
    torch.testing.assert_close(flat, speech, atol=1e-4, rtol=0)


def test_level_of_a_share_of_the_talk_drifts_slowly() -> None:
    talk = torch.ones(200, 16_000)
    drifting = mixing.with_drift(draw(), talk, 0.3)
    moved = (drifting != 1).any(-1)
    assert moved.float().mean() == pytest.approx(0.3, abs=0.1)
    assert (drifting > 0).all()
    gains = drifting[moved].log()
    assert gains.amax(-1).sub(gains.amin(-1)).mean() > 0.3
    # In a hundredth of a second no talker turns away by more than a decibel or two.
    assert gains[:, ::160].diff().abs().max() < 0.25


def test_mixtures_without_drift_are_as_they_were_before_there_was_any() -> None:
    source, untouched = draw(), torch.ones(4, 100)
    assert mixing.with_drift(source, untouched, 0.0) is untouched
    assert torch.equal(source.normal(3), draw().normal(3))


def test_room_leaves_its_early_part_in_the_target() -> None:
    click = torch.zeros(4, 16_000)
    click[:, 100] = 1
    heard, target = mixing.in_rooms(draw(), click, 1.0)
    assert target[:, 100].sub(1).abs().max() < 1e-4
    late = slice(100 + 480, None)
    assert target[:, late].abs().max() < 1e-5
    assert (heard[:, late].abs().amax(-1) > 1e-4).all()
    torch.testing.assert_close(heard[:, :580], target[:, :580], atol=1e-5, rtol=0)
    untouched = mixing.in_rooms(draw(), click, 0.0)
    assert torch.equal(untouched[0], click)
    assert torch.equal(untouched[1], click)


def test_telephone_limits_the_band() -> None:
    mixture, speech = draw(1).normal(8, 16_000), draw(2).normal(8, 16_000)
    assert share_above(mixture, 4300).min() > 0.3
    line_mixture, line_speech = mixing.over_telephone(draw(), mixture, speech, 1.0)
    assert share_above(line_speech, 4300).max() < 1e-4
    assert share_above(line_mixture, 4300).max() < 0.01
    assert max(len(row.unique()) for row in line_mixture) <= 256
    assert torch.equal(mixing.over_telephone(draw(), mixture, speech, 0.0)[0], mixture)


def test_reading_at_speed_one_is_plain_reading(training_audio: TrainingAudio) -> None:
    pool = training_audio.noise
    starts = torch.tensor([0, 777, len(pool.samples) - 100])
    read = read_windows(pool, starts, torch.ones(3), 1000)
    torch.testing.assert_close(read, plain_windows(pool, starts, 1000), atol=1e-6, rtol=0)


def test_plain_reading_wraps_at_the_end() -> None:
    pool = Pool(torch.arange(10, dtype=torch.int16), torch.tensor([0]), torch.tensor([10]), ("ramp",))
    read = plain_windows(pool, torch.tensor([8]), 4) * 32768
    assert read.tolist() == [[8, 9, 0, 1]]


@pytest.mark.parametrize("speed", [0.6, 0.75, 1.2, 2.0])
def test_speed_moves_a_tone(speed: float) -> None:
    read = read_windows(tone_pool(500), torch.tensor([1000]), torch.tensor([speed]), 8000)[0, 100:-100]
    time = torch.arange(100, 7900) * speed / 16_000 + 1000 / 16_000
    expected = 16_000 / 32_768 * torch.sin(2 * torch.pi * 500 * time)
    torch.testing.assert_close(read, expected, atol=0.01, rtol=0)
    assert torch.fft.rfft(read).abs().argmax().item() == pytest.approx(500 * speed * 7800 / 16_000, abs=1)


def test_speed_does_not_fold_high_tones_back() -> None:
    """At twice the speed 6 kHz would be 12 kHz, which 16 kHz sampling would turn into 4 kHz."""
    read = read_windows(tone_pool(6000), torch.tensor([1000]), torch.tensor([2.0]), 8000)
    assert read.square().mean().sqrt() < 0.03 * 16_000 / 32_768


def test_noise_has_unit_level(training_audio: TrainingAudio) -> None:
    noise = mixing.draw_noise(draw(), training_audio.speech, training_audio.noise, RECIPE, COUNT)
    torch.testing.assert_close(noise.square().mean(-1).sqrt(), torch.ones(COUNT), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("generated", "babble"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_each_kind_of_noise_alone(training_audio: TrainingAudio, generated: float, babble: float) -> None:
    recipe = replace(PLAIN, generated_share=generated, babble_share=babble, second_noise_share=0.0)
    noise = make(training_audio, recipe).noise
    assert noise.isfinite().all()
    assert noise.abs().amax(-1).min() > 0
