"""A site's noise: what is between talk is found, talk is not, and unusable recordings are passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.errors import DataError, RecordingError
from exdiff_cli.training import site as module
from exdiff_cli.training.site import MARGIN_FRAMES, collect_site, noise_of, quiet_runs

RATE = 16_000


def hum(seconds: float) -> np.ndarray:
    """A machine's hum with a little hiss."""
    t = np.arange(int(seconds * RATE)) / RATE
    hiss = np.random.default_rng(0).normal(size=t.size)
    return (0.02 * np.sin(2 * np.pi * 100 * t) + 0.01 * np.sin(2 * np.pi * 700 * t) + 0.003 * hiss).astype(np.float32)


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    """Hum, somebody talking into it, and hum again, in stereo at another rate."""
    talk = read_mono(DATA / "clean.wav")
    audio = hum(8 + len(talk) / RATE)
    audio[4 * RATE : 4 * RATE + len(talk)] += talk
    path = tmp_path / "shift.wav"
    soundfile.write(path, np.stack([audio, audio], 1), RATE, "FLOAT")
    return path


def test_talk_is_left_out(shift: Path) -> None:
    stretches = noise_of(shift)
    assert 2 <= len(stretches) <= 4
    together = np.concatenate(stretches)
    assert 6.0 < len(together) / RATE < 8.6
    expected = np.sqrt(np.mean(hum(8.0) ** 2))
    for stretch in stretches:
        assert np.sqrt(np.mean(stretch**2)) == pytest.approx(expected, rel=0.05)


def test_runs_keep_away_from_speech_and_are_long_enough() -> None:
    probabilities = np.zeros(200, np.float32)
    probabilities[[60, 90, 100]] = 0.9
    runs = list(quiet_runs(probabilities))
    assert runs == [(0, 60 - MARGIN_FRAMES), (101 + MARGIN_FRAMES, 200)]
    assert list(quiet_runs(np.ones(50, np.float32))) == []
    assert list(quiet_runs(np.zeros(5, np.float32))) == []
    assert list(quiet_runs(np.zeros(0, np.float32))) == []


def test_a_site_learns_and_is_judged_by_different_stretches(shift: Path) -> None:
    site = collect_site([shift], lambda error: None)
    assert len(site.valid_noise.names) >= 1
    assert len(site.noise.names) >= 1
    assert site.seconds == pytest.approx((len(site.noise.samples) + len(site.valid_noise.samples)) / RATE)
    level = (site.noise.samples.float() / 32768).square().mean().sqrt()
    assert level.item() == pytest.approx(0.05, rel=0.05)


def test_what_cannot_be_read_is_told_and_passed_over(shift: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("no audio")
    told: list[RecordingError] = []
    assert collect_site([tmp_path / "broken.wav", shift], told.append).seconds > 5
    assert [error.path.name for error in told] == ["broken.wav"]


def test_too_little_noise_is_one_line(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(20 * RATE), RATE)
    soundfile.write(tmp_path / "talk.wav", read_mono(DATA / "clean.wav"), RATE)
    with pytest.raises(DataError, match="adapt needs 5 s") as failure:
        collect_site([tmp_path / "silence.wav", tmp_path / "talk.wav"], lambda error: None)
    assert "\n" not in str(failure.value)


def test_enough_is_enough(shift: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_SECONDS", 5.0)
    once = collect_site([shift], lambda error: None).seconds
    assert collect_site([shift] * 5, lambda error: None).seconds == once
