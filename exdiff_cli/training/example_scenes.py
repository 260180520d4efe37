"""A set to judge extraction by example on: one sound a folder, hidden among talk and another sound.

Each folder has ``noisy`` mixtures, ``clean`` ones of the wanted sound alone, as `exdiff evaluate` reads them, and
``examples``, another stretch of the sound that no mixture holds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from exdiff_cli.training.mixing import GENERATED, Recipe, active_level, draw_speech, level_gain
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.synthesis import Draw, unit_level
from exdiff_cli.training.validation import Kind, kinds, refuse_existing

SEED = 20_240_916
MIXTURES = 8
SECONDS = 4.0
TALK_DECIBELS = 0.0
OTHER_DECIBELS = -5.0
"""Levels of the talk and of the other sound against the wanted one's."""

RECIPE = Recipe(seconds=SECONDS, speech_speed_share=0.0)
VOICES = "babble"


def sound_of(kind: Kind, draw: Draw, samples: int) -> Tensor:
    """``(samples,)`` of one sound of a kind: a held-out recording, repeated if it is short, or a generated one."""
    if kind.noise in GENERATED:
        return GENERATED[kind.noise](draw, 1, samples)[0]
    start, length = int(kind.pool.starts[0]), int(kind.pool.lengths[0])
    recording = kind.pool.samples[start : start + length].float() / 32768
    return unit_level(recording.repeat(-(-samples // length))[None, :samples])[0]


def halves(kind: Kind, draw: Draw, samples: int) -> tuple[Tensor, Tensor]:
    """A stretch of ``samples`` to mix and one for examples, from different parts of the sound."""
    if kind.noise in GENERATED:
        mixed, shown = sound_of(kind, draw, 2 * samples).chunk(2)
        return mixed, shown
    half = kind.pool.lengths // 2
    parts = (replace(kind.pool, lengths=half), replace(kind.pool, starts=kind.pool.starts + half, lengths=half))
    mixed, shown = (sound_of(replace(kind, pool=part), draw, samples) for part in parts)
    return mixed, shown


def noises(audio: TrainingAudio) -> list[Kind]:
    """The kinds of noise of the validation set that are no voices."""
    return [kind for kind in kinds(audio) if kind.noise != VOICES]


def write_example_set(audio: TrainingAudio, out: Path) -> int:
    """Write a folder a kind of sound; returns their number. :class:`DataError` where ``out`` exists."""
    refuse_existing(out)
    sounds = noises(audio)
    draw = Draw(torch.Generator().manual_seed(SEED))
    for index, kind in enumerate(sounds):
        mixed, shown = halves(kind, draw, MIXTURES * RECIPE.samples)
        other = sound_of(sounds[(index + 1) % len(sounds)], draw, MIXTURES * RECIPE.samples)
        talk = draw_speech(draw, audio.valid_speech, RECIPE, MIXTURES)
        _write_folder(out / kind.noise, mixed.view(MIXTURES, -1), other.view(MIXTURES, -1), talk)
        write_signal(out / kind.noise / "examples" / "example.wav", shown * level_gain(shown))
    return len(sounds)


def _write_folder(folder: Path, wanted: Tensor, other: Tensor, talk: Tensor) -> None:
    talk = talk / active_level(talk).clamp_min(1e-4) * 10 ** (TALK_DECIBELS / 20)
    mixture = wanted + talk + other * 10 ** (OTHER_DECIBELS / 20)
    peak = mixture.abs().amax(-1, keepdim=True) * 1.2
    for number, (noisy, clean) in enumerate(zip(mixture / peak, wanted / peak, strict=True)):
        write_signal(folder / "noisy" / f"{number}.wav", noisy)
        write_signal(folder / "clean" / f"{number}.wav", clean)


def write_signal(path: Path, signal: Tensor) -> None:
    """``(samples,)`` at 16 kHz as a WAV of floats, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal.cpu().numpy(), RECIPE.sample_rate, "FLOAT")
