"""The fixed validation set: 200 mixtures of held-out talk with held-out recordings and generated scenes.

Eight kinds of noise at five signal-to-noise ratios, five mixtures of each; the same data directory always gives
the same set. Whole noise recordings are held out, see :mod:`exdiff_cli.training.pool`; every fourth mixture comes
over a telephone channel.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import soundfile
import torch

from exdiff_cli.datasets import SCENES_FILE
from exdiff_cli.errors import DataError
from exdiff_cli.training.mixing import Mixture, Recipe, mix
from exdiff_cli.training.pool import Pool, TrainingAudio

SEED = 20_240_914
SNRS = (-5.0, 0.0, 5.0, 10.0, 15.0)
ROUNDS = 5
TELEPHONE_EVERY = 4
SOUNDS = ("coloured", "machine", "impacts")
CLEAR = Recipe(
    seconds=4.0,
    speech_speed_share=0.0,
    colour_share=0.3,
    colour_decibels=2.5,
    drift_share=0.0,
    texture_share=0.0,
    noise_only_share=0.0,
    clean_share=0.0,
    dropout_share=0.0,
    second_noise_share=0.0,
)
RECORDED = replace(CLEAR, generated_share=0.0, babble_share=0.0)


@dataclass(frozen=True)
class Scene:
    """One mixture of the set: what its noise is, how loud, and whether it came over a telephone."""

    noise: str
    snr: float
    telephone: bool
    round: int

    @property
    def name(self) -> str:
        return f"{self.noise}_{self.snr:+03.0f}dB_{self.round}.wav"


@dataclass(frozen=True)
class Kind:
    """A kind of noise and the recipe and recordings that make it."""

    noise: str
    recipe: Recipe
    pool: Pool


def kinds(audio: TrainingAudio) -> list[Kind]:
    """Each held-out recording for itself, then the generated kinds and babble."""
    pool = audio.valid_noise
    generated = [(name, replace(CLEAR, generated_share=1.0, babble_share=0.0, generators=(name,))) for name in SOUNDS]
    return [
        *(Kind(clip.names[0], RECORDED, clip) for clip in pool.clips()),
        *(Kind(name, recipe, pool) for name, recipe in generated),
        Kind("babble", replace(CLEAR, generated_share=0.0, babble_share=1.0), pool),
    ]


def scenes(audio: TrainingAudio) -> Iterator[tuple[Scene, Kind]]:
    """All scenes, round by round, so that any leading part that is whole rounds is balanced."""
    listed = [(kind, snr) for kind in kinds(audio) for snr in SNRS]
    for turn in range(ROUNDS):
        for index, (kind, snr) in enumerate(listed):
            telephone = (index + turn) % TELEPHONE_EVERY == TELEPHONE_EVERY - 1
            yield Scene(kind.noise, snr, telephone, turn), kind


def mixtures(audio: TrainingAudio) -> Iterator[tuple[Scene, Mixture]]:
    """Each scene with its mixture, a batch of one: ``(1, samples)``."""
    for step, (scene, kind) in enumerate(scenes(audio)):
        recipe = replace(kind.recipe, snr=(scene.snr, scene.snr), telephone_share=float(scene.telephone))
        yield scene, mix(audio.valid_speech, kind.pool, recipe, 1, SEED, step)


def validation_batch(audio: TrainingAudio, count: int) -> Mixture:
    """The first ``count`` mixtures of the set, at most all of it, as one batch."""
    made = [mixture for _, mixture in islice(mixtures(audio), count)]
    return Mixture(torch.cat([each.mixture for each in made]), torch.cat([each.speech for each in made]))


def refuse_existing(out: Path) -> None:
    """:class:`DataError` where a set would be written over something."""
    if out.exists():
        raise DataError(f"{out}: exists; a validation set is written once, name another folder")


def write_validation_set(audio: TrainingAudio, out: Path) -> int:
    """Write the set as ``noisy`` and ``clean`` folders and ``scenes.csv``, for `exdiff evaluate`; returns its size.

    Raises :class:`DataError` where ``out`` exists: a set is written once.
    """
    refuse_existing(out)
    for folder in ("noisy", "clean"):
        (out / folder).mkdir(parents=True)
    rows = []
    for scene, mixture in mixtures(audio):
        for folder, signal in (("noisy", mixture.mixture), ("clean", mixture.speech)):
            soundfile.write(out / folder / scene.name, signal[0].cpu().numpy(), CLEAR.sample_rate, "FLOAT")
        channel = "telephone" if scene.telephone else "direct"
        rows.append({"name": scene.name, "snr": scene.snr, "noise": scene.noise, "channel": channel})
    with (out / SCENES_FILE).open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)
