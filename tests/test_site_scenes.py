"""The set for adaptation: sites whose noise can be learnt, and mixtures that share nothing with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from exdiff_cli.errors import DataError
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.site_scenes import (
    MIXTURES,
    PAUSE_SECONDS,
    RECORDINGS,
    SNRS,
    TALK_SECONDS,
    write_site_set,
)
from exdiff_cli.training.validation import kinds

RATE = 16_000


@pytest.fixture(scope="module")
def sites(training_audio: TrainingAudio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sites") / "set"
    assert write_site_set(training_audio, folder) == len(kinds(training_audio)) - 1
    return folder


def read(path: Path) -> np.ndarray:
    return np.asarray(soundfile.read(path)[0])


def level(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal**2)))


def test_a_folder_a_noise_with_recordings_and_mixtures(sites: Path) -> None:
    for site in sites.iterdir():
        assert len(list((site / "recordings").iterdir())) == RECORDINGS
        names = [sorted(path.name for path in (site / part).iterdir()) for part in ("noisy", "clean")]
        assert names[0] == names[1]
        assert len(names[0]) == MIXTURES


def test_nobody_talks_in_the_pauses_of_the_recordings(sites: Path) -> None:
    """There the noise goes on, about as loud as the set says; pauses are long enough to be found."""
    recording = read(sites / "machine" / "recordings" / "2.wav")
    turns = recording.reshape(3, -1)
    assert turns.shape[1] == (TALK_SECONDS + PAUSE_SECONDS) * RATE
    talking, pausing = np.split(turns, [int(TALK_SECONDS * RATE)], axis=1)
    assert 3 < level(talking) - level(pausing) < 7


def test_mixtures_have_the_levels_in_turn(sites: Path) -> None:
    for number in (0, 7, 13):
        noisy, clean = (read(sites / "coloured" / part / f"{number:02d}.wav") for part in ("noisy", "clean"))
        assert level(clean) - level(noisy - clean) == pytest.approx(SNRS[number % len(SNRS)], abs=3)


def test_mixtures_and_recordings_hold_different_stretches_of_the_noise(sites: Path) -> None:
    """Were it one stretch, the second mixture would begin four seconds in and hold the first pause."""
    pause = int(TALK_SECONDS * RATE)
    heard = read(sites / "machine" / "recordings" / "0.wav")[pause : pause + 16_000]
    noisy, clean = (read(sites / "machine" / part / "01.wav") for part in ("noisy", "clean"))
    overlap = np.correlate(noisy - clean, heard, "valid")
    energy = np.sqrt(np.sum(heard**2) * np.sum((noisy - clean)[:16_000] ** 2))
    assert np.abs(overlap).max() < 0.95 * energy


def test_is_written_once(training_audio: TrainingAudio, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists"):
        write_site_set(training_audio, tmp_path)
