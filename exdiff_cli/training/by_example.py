"""What the separator by example learns: to take out of a mixture what sounds like another stretch of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from exdiff_cli.audio.spectral import SMALL, SpectralConfig, analyse, synthesise
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.by_example import ExampleSeparator
from exdiff_cli.extract.resunet import ResUNet
from exdiff_cli.extract.separator import Separator
from exdiff_cli.training.extract import VALIDATION_ROWS
from exdiff_cli.training.losses import separation_loss, si_sdr
from exdiff_cli.training.mixing import Recipe, active_level, draw_noise, draw_speech, in_rooms, level_gain, mute_part
from exdiff_cli.training.objective import Objective
from exdiff_cli.training.pool import Pool, TrainingAudio
from exdiff_cli.training.synthesis import Draw

VOICE_SHARE = 0.25
"""How many examples are of talk; the others are of one of the noises."""

SPEECH_SHARE = 0.85
"""How many mixtures hold talk at all."""

OTHER_NOISE_SHARE = 0.5
WANTED_DECIBELS = (-10.0, 10.0)
OTHER_DECIBELS = (-15.0, 5.0)
"""Levels against the talk's."""

SEED = 0x0E8A_0000
VALIDATION_SEED = 20_240_915


@dataclass(frozen=True)
class ExampleMixture:
    """``mixture``, the ``target`` in it, and an ``example``, another stretch of the same; ``(batch, samples)``."""

    mixture: Tensor
    target: Tensor
    example: Tensor

    def to(self, device: torch.device) -> ExampleMixture:
        return ExampleMixture(self.mixture.to(device), self.target.to(device), self.example.to(device))

    def __getitem__(self, rows: slice) -> ExampleMixture:
        return ExampleMixture(self.mixture[rows], self.target[rows], self.example[rows])


def mix_with_examples(
    speech_pool: Pool, noise_pool: Pool, recipe: Recipe, count: int, seed: int, step: int
) -> ExampleMixture:
    """Talk, a noise and perhaps another one, of which one is wanted; the same arguments give the same batch."""
    device = speech_pool.samples.device
    draw = Draw(torch.Generator(device).manual_seed((seed * 1_000_003 + step) ^ SEED), recipe.sample_rate)
    single = replace(recipe, babble_share=0.0, second_noise_share=0.0)
    speech, _ = in_rooms(draw, mute_part(draw, draw_speech(draw, speech_pool, recipe, count), 0.2), recipe.room_share)
    speech = speech / active_level(speech).clamp_min(1e-4) * draw.chance(count, SPEECH_SHARE)[:, None]
    whole = draw_noise(draw, speech_pool, noise_pool, replace(single, seconds=2 * recipe.seconds), count)
    wanted, example = (whole * _gain(draw, count, WANTED_DECIBELS)).chunk(2, dim=-1)
    other = draw_noise(draw, speech_pool, noise_pool, single, count) * _gain(draw, count, OTHER_DECIBELS)
    other = other * draw.chance(count, OTHER_NOISE_SHARE)[:, None]
    voice = draw.chance(count, VOICE_SHARE)[:, None]
    example = torch.where(voice, draw_speech(draw, speech_pool, recipe, count), example)
    mixture, target = speech + wanted + other, torch.where(voice, speech, wanted)
    gain = level_gain(mixture)
    return ExampleMixture(mixture * gain, target * gain, example * level_gain(example))


def _gain(draw: Draw, count: int, decibels: tuple[float, float]) -> Tensor:
    low, high = decibels
    return 10 ** (draw.uniform(count, 1, low=low, high=high) / 20)


class ExampleTask:
    """Trains an :class:`ExampleSeparator` that begins as a trained separator."""

    def __init__(self, separator: Separator, spectral: SpectralConfig = SMALL) -> None:
        if not isinstance(separator.network, ResUNet):
            raise UsageError("--extract: is of the preset base; a separator by example begins from a small one")
        self.spectral, config = spectral, separator.network.config
        self.model = ExampleSeparator(config)
        self.model.begin_from(separator)
        self.description: dict[str, Any] = {"model": "by_example", "preset": "small", "config": asdict(config)}

    def adopt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights

    def draw(self, audio: TrainingAudio, recipe: Recipe, count: int, seed: int, step: int) -> ExampleMixture:
        return mix_with_examples(audio.speech, audio.noise, recipe, count, seed, step)

    def validation(self, audio: TrainingAudio, count: int) -> ExampleMixture:
        """Fixed mixtures of held-out talk and recordings."""
        recipe = Recipe(seconds=4.0, speech_speed_share=0.0)
        return mix_with_examples(audio.valid_speech, audio.valid_noise, recipe, count, VALIDATION_SEED, 0)

    def loss(self, batch: ExampleMixture, step: int, progress: float) -> Tensor:
        estimate = self._extract(batch.mixture, batch.example)
        target = self._spectrum(batch.target)
        return separation_loss(estimate, target, batch.target, self.spectral, Objective())

    def _extract(self, mixture: Tensor, example: Tensor) -> Tensor:
        return self.model(self._spectrum(mixture), self.model.encoder(self._spectrum(example))).estimate

    def _spectrum(self, waveform: Tensor) -> Tensor:
        return analyse(waveform, self.spectral)

    def validate(self, batch: ExampleMixture) -> dict[str, float]:
        """SI-SDR of the mixture, of what the right example gets, and of what the neighbour's does."""
        audible = batch.target.square().mean(-1) > 1e-8
        right = self._waveforms(batch.mixture, batch.example)
        wrong = self._waveforms(batch.mixture, batch.example.roll(1, dims=0))
        measures = {
            name: si_sdr(signal[audible], batch.target[audible]).mean().item()
            for name, signal in (("mixture_si_sdr", batch.mixture), ("si_sdr", right), ("wrong_si_sdr", wrong))
        }
        return {**measures, "score": measures["si_sdr"]}

    def _waveforms(self, mixture: Tensor, example: Tensor) -> Tensor:
        rows = zip(torch.split(mixture, VALIDATION_ROWS), torch.split(example, VALIDATION_ROWS), strict=True)
        estimates = torch.cat([self._extract(*pair) for pair in rows])
        return synthesise(estimates, mixture.shape[-1], self.spectral)
