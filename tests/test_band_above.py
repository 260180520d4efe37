"""What is made up above a telephone's band: only there, only from what is there, and never louder than speech is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import DATA

from exdiff_cli.audio.band_above import (
    HOP,
    LOWEST_RATE,
    RATE,
    BandAbove,
    as_stored,
    is_narrow,
    spectra,
    told_ratios,
)
from exdiff_cli.audio.recording import Recording, Samples
from exdiff_cli.audio.resample import StreamResampler
from exdiff_cli.training.band_above import examples, fit
from exdiff_cli.training.pool import TrainingAudio


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    resampler = StreamResampler(rate, wanted)
    return np.concatenate([resampler.push(samples), resampler.flush()], axis=1)


def wide(channels: int = 1) -> Samples:
    sentence = soundfile.read(DATA / "clean.wav", dtype="float32")[0]
    return np.stack([np.roll(sentence, 4_000 * channel) for channel in range(channels)])


def narrow(samples: Samples, rate: int = 8_000) -> Samples:
    """As the models hear a recording of a low rate."""
    return resampled(resampled(samples, RATE, rate), rate, RATE)[:, : samples.shape[1]]


def run(samples: Samples, rate: int = 8_000, chunk: int = 3_333) -> Samples:
    band = BandAbove(rate, len(samples))
    pieces = [samples[:, start : start + chunk] for start in range(0, samples.shape[1], chunk)]
    parts = [*(band.restore(piece, piece) for piece in pieces), band.flush()]
    return np.concatenate(parts, axis=1)[:, : samples.shape[1]]


def decibels(samples: Samples, low: float, high: float) -> np.ndarray:
    """Level of each frame between two frequencies, ``(channels, frames)``."""
    power = np.abs(spectra(samples)) ** 2
    hertz = np.arange(power.shape[-1]) * RATE / 512
    return 10 * np.log10(power[..., (hertz >= low) & (hertz < high)].mean(-1) + 1e-9)


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000])
def test_what_lies_below_stays_as_it_is(rate: int) -> None:
    samples = narrow(wide(2), rate)
    added = run(samples, rate) - samples
    below, above = (decibels(added, *band).max() for band in ((0, 0.43 * rate), (0.47 * rate, 8_000)))
    assert below < above - 40


def test_consonants_get_what_they_lack() -> None:
    """Where the recording as it was before the telephone is loud above 4 kHz, so is what is made up."""
    original, samples = wide(), narrow(wide())
    truth, lacking, made = (decibels(signal, 4_500, 7_500) for signal in (original, samples, run(samples)))
    spoken = truth > truth.max() - 30
    assert np.abs(made - truth)[spoken].mean() < np.abs(lacking - truth)[spoken].mean() / 2
    assert (made - truth)[spoken].mean() < 0, "too much disturbs more than too little"


@pytest.mark.parametrize("chunk", [1, 100, 50_000])
def test_chunks_change_nothing(chunk: int) -> None:
    samples = narrow(wide(2))[:, : 4_000 if chunk == 1 else None]
    np.testing.assert_allclose(run(samples, chunk=chunk), run(samples), rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, HOP - 1, HOP, HOP + 1, 1_000])
def test_every_length_is_kept(length: int) -> None:
    assert run(narrow(wide())[:, :length]).shape == (1, length)


@pytest.mark.parametrize("level", [0.0, 1e-7])
def test_silence_stays_silence(level: float) -> None:
    hiss = level * np.random.default_rng(1).standard_normal((1, 20_000))
    assert np.abs(run(hiss.astype(np.float32))).max() <= 40 * level


def test_a_quieter_recording_is_the_same_but_quieter() -> None:
    samples = narrow(wide())
    quiet = run((samples / 100).astype(np.float32)) * 100
    np.testing.assert_allclose(quiet, run(samples), rtol=0, atol=2e-3)


def test_only_low_rates_have_a_band_to_fill() -> None:
    rates = (4_000, LOWEST_RATE, 11_025, RATE, 44_100)
    recordings = [Recording(Path("a.wav"), rate, 1, rate * 3 + 1, "WAV", "ULAW") for rate in rates]
    assert [is_narrow(recording) for recording in recordings] == [False, True, True, False, False]
    stored = as_stored(recordings[1], extend=True)
    assert (stored.sample_rate, stored.frames) == (RATE, 48_002)
    assert all(as_stored(recording, extend=False) is recording for recording in recordings)
    assert as_stored(recordings[3], extend=True) is recordings[3]


def test_training_tells_bands_better_than_their_mean(
    training_audio: TrainingAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = fit(training_audio, tmp_path / "new.safetensors", steps=300)
    assert sum(errors.of_the_network) < sum(errors.of_the_mean)
    heard = examples(training_audio.speech, 50)[0].double().numpy()
    shipped = told_ratios(heard)
    monkeypatch.setattr("exdiff_cli.audio.band_above.WEIGHTS", tmp_path / "new.safetensors")
    from exdiff_cli.audio import band_above

    band_above._weights.cache_clear()
    try:
        trained = told_ratios(heard)
    finally:
        monkeypatch.undo()
        band_above._weights.cache_clear()
    assert trained.shape == shipped.shape
    assert np.abs(trained - shipped).max() > 0.01
