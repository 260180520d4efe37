"""Pairs: found in every layout, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import DATA, samples_of, store, talk

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.datasets import find_pairs, snr_band
from exdiff_cli.errors import DataError, RecordingError


def refusal(noisy: Path, clean: Path | None) -> str:
    with pytest.raises((DataError, RecordingError)) as caught:
        [pair.read() for pair in find_pairs(noisy, clean)]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pairs_are_found_by_name(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    store(noisy / "site" / "a.flac", 1.0, rate=48_000, channels=2)
    store(clean / "site" / "a.flac", 1.0, rate=48_000)
    store(clean / "without-noise.wav", 1.0)
    (noisy / "notes.txt").touch()
    (noisy / "site" / "._a.flac").touch()
    (noisy / ".cache").mkdir()
    (noisy / ".cache" / "b.wav").touch()
    pairs = find_pairs(noisy, clean)
    assert [pair.name for pair in pairs] == ["p257_054.wav", "site/a.flac"]
    second, first = (pair.read() for pair in pairs)
    (alone,) = find_pairs(noisy / "site" / "a.flac", clean / "p257_054.wav")
    assert (alone.noisy, alone.clean) == (noisy / "site" / "a.flac", clean / "p257_054.wav")
    assert first.noisy.shape == first.clean.shape == (16_000,)
    np.testing.assert_array_equal(second.noisy, samples_of(DATA / "noisy.wav")[0])
    np.testing.assert_array_equal(second.clean, samples_of(DATA / "clean.wav")[0])


def test_a_missing_partner_is_named(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    (clean / "p257_054.wav").unlink()
    assert f"{clean / 'p257_054.wav'}: is missing" in refusal(noisy, clean)


def test_another_length_is_named(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    store(clean / "p257_054.wav", 1.0)
    message = refusal(noisy, clean)
    assert "34548 samples and its clean reference 16000" in message
    assert str(noisy / "p257_054.wav") in message


def test_folders_that_are_none_or_empty_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    noisy, clean = folders
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refusal(tmp_path / "gone", clean)
    assert "no such folder" in refusal(tmp_path / "gone", None)
    assert "no such folder" in refusal(noisy, clean / "p257_054.wav")
    assert "holds no recordings" in refusal(tmp_path / "empty", clean)
    assert "is no set that evaluate knows" in refusal(tmp_path / "empty", None)


def test_a_damaged_recording_is_named(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    (clean / "p257_054.wav").write_bytes(b"")
    assert str(clean / "p257_054.wav") in refusal(noisy, clean)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([talk(1.0)[0], np.zeros(16_000)], axis=1), 16_000, "FLOAT")
    np.testing.assert_allclose(read_mono(tmp_path / "a.wav"), talk(1.0)[0] / 2, rtol=0, atol=1e-6)


def test_a_written_set_tells_its_scenes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "scenes.csv").write_text("name,snr,noise\np257_054.wav,-5.0,babble\nother.wav,0.0,rain\n")
    (pair,) = find_pairs(tmp_path)
    assert (pair.name, pair.tags) == ("p257_054.wav", {"snr": "-5.0", "noise": "babble"})


@pytest.mark.parametrize("log", [True, False])
def test_voicebank_demand(tmp_path: Path, log: bool) -> None:
    for kind in ("noisy", "clean"):
        (tmp_path / f"{kind}_testset_wav").mkdir()
        store(tmp_path / f"{kind}_testset_wav" / "p232_001.wav", 1.0, rate=48_000)
    if log:
        (tmp_path / "log_testset.txt").write_text("p232_001 bus 17.5\n\np232_002 cafe 2.5\n")
    (pair,) = find_pairs(tmp_path)
    assert pair.tags == ({"noise": "bus", "snr": "17.5"} if log else {})
    assert pair.clean == tmp_path / "clean_testset_wav" / "p232_001.wav"


@pytest.mark.parametrize("root", ["test", "."])
def test_musdb(tmp_path: Path, root: str) -> None:
    for track in ("B - Second", "A - First"):
        (tmp_path / root / track).mkdir(parents=True)
        for stem in ("mixture", "vocals", "drums"):
            store(tmp_path / root / track / f"{stem}.wav", 1.0, rate=44_100, channels=2)
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["A - First", "B - Second"]
    assert pairs[0].read().noisy.shape == (16_000,)
    (tmp_path / root / "A - First" / "vocals.wav").unlink()
    assert "vocals.wav: is missing" in refusal(tmp_path, None)


@pytest.mark.parametrize(("snr", "band"), [(-20, "-5"), (-4, "-5"), (1, "0"), (7, "5"), (15, "15"), (60, "20")])
def test_bands_of_five_decibels(snr: float, band: str) -> None:
    clean = talk(1.0)[0]
    noise = np.random.default_rng(0).normal(size=clean.size)
    noise *= np.sqrt((clean @ clean) / (noise @ noise)) * 10 ** (-snr / 20)
    assert snr_band(clean + noise, clean) == band


def test_no_band_without_noise_or_speech() -> None:
    clean = talk(1.0)[0]
    assert snr_band(clean, clean) == "none"
    assert snr_band(clean, np.zeros_like(clean)) == "none"
