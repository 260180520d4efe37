"""The evaluation: it measures the right pairs, and what it enhances is what a run gives."""

from __future__ import annotations

import shutil
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from bundles import short_settings
from recordings import DATA, samples_of, store, talk

from exdiff_cli import evaluate as module
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.bundle import Bundle
from exdiff_cli.engine import enhance_all
from exdiff_cli.enhancer import Enhancer
from exdiff_cli.errors import DataError, RecordingError
from exdiff_cli.evaluate import MEASURES, enhance_samples, evaluate, load_pairs, measure
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import Resources

CPU = torch.device("cpu")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A noisy and a clean folder of one pair."""
    for kind in ("noisy", "clean"):
        (tmp_path / kind).mkdir()
        shutil.copy(DATA / f"{kind}.wav", tmp_path / kind / "p257_054.wav")
    return tmp_path / "noisy", tmp_path / "clean"


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "dnsmos_reference", lambda audio: DnsmosScore(3.0, 3.0, 3.0))


def refusal(noisy: Path, clean: Path) -> str:
    with pytest.raises((DataError, RecordingError)) as caught:
        load_pairs(noisy, clean)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- pairs --------------------------------------------------------------------------------------------------


def test_pairs_are_found_by_name(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    store(noisy / "a.flac", 1.0, rate=48_000, channels=2)
    store(clean / "a.flac", 1.0, rate=48_000)
    store(clean / "without-noise.wav", 1.0)
    (noisy / "notes.txt").touch()
    pairs = load_pairs(noisy, clean)
    assert [pair.name for pair in pairs] == ["a.flac", "p257_054.wav"]
    assert pairs[0].noisy.shape == pairs[0].clean.shape == (16_000,)
    np.testing.assert_array_equal(pairs[1].noisy, samples_of(DATA / "noisy.wav")[0])
    np.testing.assert_array_equal(pairs[1].clean, samples_of(DATA / "clean.wav")[0])


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
    assert "no such folder" in refusal(noisy, clean / "p257_054.wav")
    assert "holds no recordings" in refusal(tmp_path / "empty", clean)


def test_a_damaged_recording_is_named(folders: tuple[Path, Path]) -> None:
    noisy, clean = folders
    (clean / "p257_054.wav").write_bytes(b"")
    assert str(clean / "p257_054.wav") in refusal(noisy, clean)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([talk(1.0)[0], np.zeros(16_000)], axis=1), 16_000, "FLOAT")
    np.testing.assert_allclose(read_mono(tmp_path / "a.wav"), talk(1.0)[0] / 2, rtol=0, atol=1e-6)


# --- scores -------------------------------------------------------------------------------------------------


@pytest.mark.eval
def test_clean_speech_against_itself_is_at_the_ceiling(quick_scores: None) -> None:
    clean = read_mono(DATA / "clean.wav")
    itself, noisy = measure(clean, clean), measure(read_mono(DATA / "noisy.wav"), clean)
    assert set(itself) == set(noisy) == set(MEASURES)
    assert itself["pesq"] == pytest.approx(4.64, abs=0.01)
    assert itself["estoi"] == pytest.approx(1.0, abs=1e-6)
    assert itself["si_sdr"] == 100.0
    for name in ("pesq", "estoi", "si_sdr"):
        better, worse = itself[name], noisy[name]
        assert better is not None
        assert worse is not None
        assert better > worse + 0.05, name


@pytest.mark.eval
def test_silence_has_no_scores_against_a_reference(quick_scores: None) -> None:
    clean = read_mono(DATA / "clean.wav")
    scores = measure(np.zeros_like(clean), clean)
    assert (scores["pesq"], scores["estoi"], scores["si_sdr"]) == (None, None, None)


@pytest.mark.eval
def test_means_leave_out_what_is_not_defined(quick_scores: None, folders: tuple[Path, Path], bundle: Bundle) -> None:
    noisy, clean = folders
    (alone,) = load_pairs(noisy, clean)
    soundfile.write(noisy / "silent.wav", np.zeros(32_000), 16_000)
    shutil.copy(noisy / "silent.wav", clean)
    with_silence = load_pairs(noisy, clean)
    assert len(with_silence) == 2
    scores = [next(evaluate(pairs, bundle, short_settings(bundle), [1], CPU)) for pairs in ([alone], with_silence)]
    assert astuple(scores[0])[2:] == pytest.approx(astuple(scores[1])[2:])
    (silent,) = (pair for pair in with_silence if pair.name == "silent.wav")
    assert next(evaluate([silent], bundle, short_settings(bundle), [1], CPU)).pesq is None


@pytest.mark.eval
def test_every_system_is_compared(quick_scores: None, folders: tuple[Path, Path], bundle: Bundle) -> None:
    scores = list(evaluate(load_pairs(*folders), bundle, short_settings(bundle), [1, 3], CPU))
    assert [(row.system, row.steps) for row in scores] == [
        ("noisy", 0),
        ("extract", 0),
        ("diffuse, latents dropped", 1),
        ("ex-diff", 1),
        ("diffuse, latents dropped", 3),
        ("ex-diff", 3),
    ]
    assert len({row.si_sdr for row in scores}) == 6
    assert set(scores[0].as_dict()) == {"system", "steps", *MEASURES}
    (pair,) = load_pairs(*folders)
    assert astuple(scores[0])[2:] == pytest.approx(tuple(measure(pair.noisy, pair.clean).values()))


# --- what is measured is what a run gives -------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
def test_enhanced_as_in_a_run(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(Dnsmos, "score", lambda model, windows: [])
    settings = short_settings(bundle, kind="sde", seed=3)
    source = store(tmp_path / "a.wav", 3.7, subtype="FLOAT")
    outcome = enhance_all([source], tmp_path / "out", bundle, settings, Resources()).done[0]
    assert outcome.report is not None
    enhanced = enhance_samples(read_mono(source), outcome.report.input.sha256, Enhancer(bundle, settings, CPU), batch)
    np.testing.assert_allclose(enhanced, samples_of(tmp_path / "out" / "a.wav")[0], rtol=0, atol=1e-5)
