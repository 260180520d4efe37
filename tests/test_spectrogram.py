"""Spectrograms: where a tone lies, how loud it is, and that hours are not held in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from recordings import DATA, store

from exdiff_cli.audio.recording import Samples
from exdiff_cli.report.pictures import Wanted, draw_all, draw_pair, within
from exdiff_cli.report.spectrogram import FRAMES_A_COLUMN, HOP_SECONDS, ROWS, TOP_HZ, spectrogram


def tone(path: Path, hertz: float, rate: int, seconds: float = 2.0, level: float = 1.0) -> Path:
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, level * np.sin(2 * np.pi * hertz * time), rate, "FLOAT")
    return path


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("hertz", [500, 3_000])
def test_a_tone_is_where_it_sounds_and_as_loud_at_every_rate(tmp_path: Path, rate: int, hertz: int) -> None:
    found = spectrogram(tone(tmp_path / "a.wav", hertz, rate), 100)
    middle = found.decibels[:, 50]
    assert abs(middle.argmax() * TOP_HZ / ROWS - hertz) <= TOP_HZ / ROWS
    assert middle.max() == pytest.approx(0, abs=1.5)
    assert np.median(middle) < -60
    assert found.seconds == 2.0


def test_what_a_rate_does_not_hold_is_silence(tmp_path: Path) -> None:
    found = spectrogram(tone(tmp_path / "a.wav", 1_000, 8_000), 100)
    assert found.top_hz == 4_000
    assert found.decibels[ROWS // 2 + 1 :].max() < -110


def test_time_runs_from_left_to_right(tmp_path: Path) -> None:
    samples = np.concatenate([np.zeros(16_000), np.random.default_rng(0).normal(0, 0.1, 16_000), np.zeros(32_000)])
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    loud = np.flatnonzero(spectrogram(tmp_path / "a.wav", 80).decibels.mean(axis=0) > -80)
    assert loud[0] in (19, 20)
    assert loud[-1] in (39, 40)


@pytest.mark.parametrize("frames", [1, 2, 100, 511, 5_000])
def test_whatever_the_length_every_column_holds_something(tmp_path: Path, frames: int) -> None:
    soundfile.write(tmp_path / "a.wav", 0.5 * np.ones(frames), 16_000)
    found = spectrogram(tmp_path / "a.wav", 300).decibels
    assert found.shape[0] == ROWS
    assert found.max(axis=0).min() > -60


def test_a_long_recording_is_thinned_out_and_never_held(tmp_path: Path) -> None:
    minutes = 30
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 8_000, 1, "PCM_16") as file:
        minute: Samples = np.random.default_rng(0).normal(0, 0.1, 8_000 * 60).astype(np.float32)
        for _ in range(minutes):
            file.write(minute)
    tracemalloc.start()
    found = spectrogram(tmp_path / "a.wav", 100)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.decibels.shape == (ROWS, 100)
    assert np.ptp(found.decibels[1 : ROWS // 2 - 1].mean(axis=0)) < 3  # no column is empty, or counted twice
    assert most < 25e6 < minutes * 60 * 8_000 * 4
    assert minutes * 60 / HOP_SECONDS / 100 > FRAMES_A_COLUMN


def test_a_pair_is_one_small_picture_on_one_scale(tmp_path: Path) -> None:
    loud = tone(tmp_path / "loud.wav", 1_000, 16_000)
    faint = tone(tmp_path / "faint.wav", 1_000, 16_000, level=0.01)
    draw_pair(loud, faint, tmp_path / "pair.png")
    with Image.open(tmp_path / "pair.png") as image:
        shades = np.asarray(image.convert("L"))
    upper, lower = np.split(shades, 2)
    assert upper.max() > lower.max() + 50
    assert abs(int(upper[:, 100].argmax()) - int(lower[:, 100].argmax())) <= 1
    draw_pair(DATA / "noisy.wav", DATA / "clean.wav", tmp_path / "speech.png")
    assert (tmp_path / "speech.png").stat().st_size < 60_000


def test_a_result_of_another_rate_makes_a_picture_too(tmp_path: Path) -> None:
    narrow = store(tmp_path / "narrow.wav", 2.3, rate=8_000)
    draw_pair(narrow, store(tmp_path / "wide.wav", 2.3, rate=16_000), tmp_path / "pair.png")
    draw_pair(narrow, narrow, tmp_path / "narrow.png")
    with Image.open(tmp_path / "pair.png") as wide, Image.open(tmp_path / "narrow.png") as image:
        assert wide.width == image.width
        assert wide.height == image.height == 256


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    speech = DATA / "noisy.wav"
    wanted = [
        Wanted(speech, speech, tmp_path / "pictures" / "a.png", 1),
        Wanted(speech, tmp_path / "gone.wav", tmp_path / "pictures" / "b.png", 1),
        Wanted(speech, speech, tmp_path / "pictures" / "c.png", 1),
    ]
    counted: list[int] = []
    assert draw_all(wanted, lambda: counted.append(1)) == {"a.png", "c.png"}
    assert len(counted) == 3
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["a.png", "c.png"]


def test_long_recordings_give_way_where_time_is_short() -> None:
    minutes = (2, 600, 1)
    wanted = [Wanted(Path("a"), Path("b"), Path("c.png"), 2 * count * 60 * 16_000) for count in minutes]
    assert within(wanted, 1.0) == [wanted[0], wanted[2]]
    assert within(wanted, 0.0) == []
