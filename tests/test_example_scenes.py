"""The set for extraction by example: what its folders hold, and that examples and mixtures share nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from exdiff_cli.errors import DataError
from exdiff_cli.training import example_scenes
from exdiff_cli.training.example_scenes import MIXTURES, halves, sound_of, write_example_set
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.synthesis import Draw
from exdiff_cli.training.validation import kinds


def draw() -> Draw:
    return Draw(torch.Generator().manual_seed(0))


def test_a_folder_a_sound_with_its_mixtures_and_examples(training_audio: TrainingAudio, tmp_path: Path) -> None:
    count = write_example_set(training_audio, tmp_path / "set")
    folders = sorted((tmp_path / "set").iterdir())
    assert len(folders) == count == len(kinds(training_audio)) - 1
    for folder in folders:
        names = [sorted(path.name for path in (folder / part).iterdir()) for part in ("noisy", "clean")]
        assert names[0] == names[1] == [f"{number}.wav" for number in range(MIXTURES)]
        noisy, clean = (soundfile.read(folder / part / "3.wav")[0] for part in ("noisy", "clean"))
        assert len(noisy) == len(clean) == 64_000
        rest = noisy - clean
        level = 10 * np.log10(np.mean(clean**2) / np.mean(rest**2))
        assert -6 < level < 6
        assert abs(np.corrcoef(clean, rest)[0, 1]) < 0.3
        assert (folder / "examples" / "example.wav").exists()


def test_no_mixture_holds_the_example(training_audio: TrainingAudio) -> None:
    for kind in kinds(training_audio)[:-1]:
        mixed, shown = halves(kind, draw(), 4000)
        assert mixed.shape == shown.shape == (4000,)
        assert abs(float(torch.corrcoef(torch.stack((mixed, shown)))[0, 1])) < 0.2


def test_a_short_recording_is_repeated(training_audio: TrainingAudio) -> None:
    kind = kinds(training_audio)[0]
    length = int(kind.pool.lengths[0])
    sound = sound_of(kind, draw(), 2 * length + 10)
    torch.testing.assert_close(sound[:length], sound[length : 2 * length])
    assert sound.square().mean().sqrt() == pytest.approx(1, abs=1e-3)


def test_is_written_once(training_audio: TrainingAudio, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists"):
        example_scenes.write_example_set(training_audio, tmp_path)
