"""A set to judge adaptation on: one noise a folder, as a site that it fills, and more of it to measure on.

Each folder has ``recordings``, in which people talk and pause while the noise goes on, for `exdiff adapt`, and
``noisy`` and ``clean``, other talk in another stretch of the noise, for `exdiff evaluate`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from exdiff_cli.training.example_scenes import halves, noises, write_signal
from exdiff_cli.training.mixing import Recipe, active_level, draw_speech, level_gain
from exdiff_cli.training.pool import Pool, TrainingAudio
from exdiff_cli.training.synthesis import Draw
from exdiff_cli.training.validation import refuse_existing

SEED = 20_240_917
RECORDINGS, RECORDING_SECONDS = 6, 30.0
TALK_SECONDS, PAUSE_SECONDS = 6.0, 4.0
TALK_DECIBELS = 5.0
"""Level of the talk in the recordings against the noise."""

MIXTURES, MIXTURE_SECONDS = 20, 4.0
SNRS = (-5.0, 0.0, 5.0, 10.0, 15.0)
RECIPE = Recipe(seconds=MIXTURE_SECONDS, speech_speed_share=0.0)


def write_site_set(audio: TrainingAudio, out: Path) -> int:
    """Write a folder a noise; returns their number. :class:`DataError` where ``out`` exists."""
    refuse_existing(out)
    found = noises(audio)
    draw = Draw(torch.Generator().manual_seed(SEED))
    samples = round(max(RECORDINGS * RECORDING_SECONDS, MIXTURES * MIXTURE_SECONDS) * RECIPE.sample_rate)
    for kind in found:
        measured, heard = halves(kind, draw, samples)
        _write_recordings(out / kind.noise / "recordings", heard, draw, audio.speech)
        _write_mixtures(out / kind.noise, measured, draw, audio.valid_speech)
    return len(found)


def talk(draw: Draw, pool: Pool, count: int, seconds: float) -> Tensor:
    """``(count, samples)`` of talk at a level of one."""
    speech = draw_speech(draw, pool, replace(RECIPE, seconds=seconds), count)
    return speech / active_level(speech).clamp_min(1e-4)


def _write_recordings(folder: Path, noise: Tensor, draw: Draw, pool: Pool) -> None:
    speech = talk(draw, pool, RECORDINGS, RECORDING_SECONDS)
    turn = torch.arange(speech.shape[-1]) / RECIPE.sample_rate % (TALK_SECONDS + PAUSE_SECONDS)
    speech *= turn < TALK_SECONDS
    mixture = speech * 10 ** (TALK_DECIBELS / 20) + noise[: speech.numel()].view_as(speech)
    for number, recording in enumerate(mixture * level_gain(mixture)):
        write_signal(folder / f"{number}.wav", recording)


def _write_mixtures(folder: Path, noise: Tensor, draw: Draw, pool: Pool) -> None:
    speech = talk(draw, pool, MIXTURES, MIXTURE_SECONDS)
    snr = torch.tensor(SNRS).repeat(-(-MIXTURES // len(SNRS)))[:MIXTURES, None]
    mixture = speech + noise[: speech.numel()].view_as(speech) * 10 ** (-snr / 20)
    gain = level_gain(mixture)
    for number, (noisy, clean) in enumerate(zip(mixture * gain, speech * gain, strict=True)):
        write_signal(folder / "noisy" / f"{number:02d}.wav", noisy)
        write_signal(folder / "clean" / f"{number:02d}.wav", clean)
