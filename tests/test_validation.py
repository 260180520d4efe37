"""The fixed validation set: the same every time, balanced, and made of held-out audio alone."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import soundfile
import torch

from exdiff_cli.errors import DataError
from exdiff_cli.training.mixing import active_level
from exdiff_cli.training.pool import Pool, TrainingAudio
from exdiff_cli.training.validation import (
    SNRS,
    Scene,
    mixtures,
    scenes,
    validation_batch,
    write_validation_set,
)


def test_two_hundred_balanced_scenes_of_eight_kinds(training_audio: TrainingAudio) -> None:
    four = Pool(
        training_audio.valid_noise.samples,
        torch.zeros(4, dtype=torch.long),
        torch.full((4,), 16_000),
        ("a", "b", "c", "d"),
    )
    found = [scene for scene, _ in scenes(replace(training_audio, valid_noise=four))]
    assert len(found) == len({scene.name for scene in found}) == 200
    assert Counter((scene.noise, scene.snr) for scene in found[:40]) == Counter(
        (noise, snr) for noise in ("a", "b", "c", "d", "coloured", "machine", "impacts", "babble") for snr in SNRS
    )
    assert Counter(scene.telephone for scene in found) == {True: 50, False: 150}


def test_mixtures_have_their_scenes_level(training_audio: TrainingAudio) -> None:
    """Where neither a room nor a telephone changes it, speech is as far above the noise as the scene says."""
    plain = 0
    for scene, mixture in islice(mixtures(training_audio), 12):
        ratio = 20 * torch.log10(active_level(mixture.speech) / mixture.noise.square().mean().sqrt())
        plain += abs(ratio.item() - scene.snr) < 0.5
    assert plain >= 6


def test_a_batch_is_the_leading_part_of_the_set(training_audio: TrainingAudio) -> None:
    batch, again = validation_batch(training_audio, 3), validation_batch(training_audio, 2)
    assert batch.mixture.shape == batch.speech.shape == (3, 64_000)
    assert torch.equal(batch.mixture[:2], again.mixture)
    assert not torch.equal(batch.mixture[0], batch.mixture[1])


def test_training_audio_has_no_part_in_it(training_audio: TrainingAudio) -> None:
    """Silencing everything that training sees changes nothing."""
    pools = (training_audio.speech, training_audio.noise)
    silent = [replace(pool, samples=torch.zeros_like(pool.samples)) for pool in pools]
    other = replace(training_audio, speech=silent[0], noise=silent[1])
    assert torch.equal(validation_batch(training_audio, 10).mixture, validation_batch(other, 10).mixture)


def test_written_set_is_what_training_measures_on(training_audio: TrainingAudio, tmp_path: Path) -> None:
    out = tmp_path / "set"
    count = write_validation_set(training_audio, out)
    with (out / "scenes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert set(rows[0]) == {"name", "snr", "noise", "channel"}
    batch = validation_batch(training_audio, 2)
    for row, mixture, speech in zip(rows, batch.mixture, batch.speech, strict=False):
        for folder, expected in (("noisy", mixture), ("clean", speech)):
            written, rate = soundfile.read(out / folder / row["name"], dtype="float32")
            assert rate == 16_000
            assert torch.equal(torch.from_numpy(written), expected)
    with pytest.raises(DataError, match="set: exists"):
        write_validation_set(training_audio, out)


def test_scene_names_sort_and_tell() -> None:
    assert Scene("babble", -5.0, False, 2).name == "babble_-05dB_2.wav"
    assert Scene("babble", 10.0, True, 0).name == "babble_+10dB_0.wav"
