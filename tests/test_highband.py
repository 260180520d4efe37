"""Above the models' band: what is not changed comes out as it was, hiss goes, consonants stay, nothing clicks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from exdiff_cli.audio.highband import HighBand, WithinBand, back_from
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler

MODEL_RATE = 16_000
RATES = [17_000, 22_050, 32_000, 44_100, 48_000, 96_000]


def hiss(rate: int, seconds: float = 1.5, channels: int = 1) -> Samples:
    white = np.random.default_rng(3).standard_normal((channels, round(rate * seconds)))
    return (0.05 * white).astype(np.float32)


def down(samples: Samples, rate: int) -> Samples:
    resampler = StreamResampler(rate, MODEL_RATE)
    return np.concatenate([resampler.push(samples), resampler.flush()], axis=1)


def run(samples: Samples, made: Samples, rate: int, window: int = 7_001, chunk: int = 3_333) -> Samples:
    """``made`` of ``samples`` brought back to ``rate``, both fed in pieces."""
    heard, back = down(samples, rate), back_from(MODEL_RATE, rate, len(samples))
    for start in range(0, samples.shape[1], window):
        back.keep(samples[:, start : start + window])
    parts = [back.restore(heard[:, i : i + chunk], made[:, i : i + chunk]) for i in range(0, heard.shape[1], chunk)]
    return np.concatenate([*parts, back.flush()], axis=1)[:, : samples.shape[1]]


def scaled(samples: Samples, gain: float) -> Samples:
    return (gain * samples).astype(np.float32)


def level(samples: Samples, rate: int, low: float, high: float) -> float:
    """In dB, between two frequencies."""
    band = butter(6, [low, min(high, 0.49 * rate)], "bandpass", fs=rate, output="sos")
    return float(10 * np.log10(np.mean(sosfiltfilt(band, samples, axis=-1) ** 2) + 1e-20))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_not_changed_comes_out_as_it_was(rate: int, channels: int) -> None:
    samples = hiss(rate, channels=channels)
    np.testing.assert_allclose(run(samples, down(samples, rate), rate), samples, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_hiss_goes_above_as_it_goes_below(rate: int) -> None:
    samples = hiss(rate)
    result = run(samples, scaled(down(samples, rate), 0.1), rate)
    for low, high in ((4_500, 7_000), (9_000, rate / 2)):
        assert level(result, rate, low, high) == pytest.approx(level(samples, rate, low, high) - 20, abs=0.5)


def test_a_consonant_stays_and_the_hiss_around_it_goes() -> None:
    rate = 48_000
    samples = hiss(rate, 3.0)
    samples[:, rate : 2 * rate] *= 4
    made = down(samples, rate)
    made[:, : MODEL_RATE - 400] *= 0.03
    made[:, 2 * MODEL_RATE + 400 :] *= 0.03
    result = run(samples, made, rate)
    middle = slice(rate, 2 * rate)
    assert level(result[:, middle], rate, 9_000, 20_000) == pytest.approx(
        level(samples[:, middle], rate, 9_000, 20_000), abs=0.1
    )
    for outside in (slice(0, rate - rate // 5), slice(2 * rate + rate // 5, None)):
        gone = level(result[:, outside], rate, 9_000, 20_000) - level(samples[:, outside], rate, 9_000, 20_000)
        assert gone < -25


def test_a_whistle_above_follows_the_whole_band_where_the_octave_is_empty() -> None:
    rate = 48_000
    time = np.arange(2 * rate) / rate
    low, whistle = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 15_000 * time)
    samples = scaled(np.stack([low + whistle]), 0.1)
    result = run(samples, scaled(down(samples, rate), 0.01), rate)
    assert level(result, rate, 14_000, 16_000) < level(samples, rate, 14_000, 16_000) - 35


@pytest.mark.parametrize("rate", RATES)
def test_the_result_does_not_depend_on_how_it_is_fed(rate: int) -> None:
    samples = hiss(rate)
    made = down(samples, rate) * np.linspace(1, 0, down(samples, rate).shape[1], dtype=np.float32)
    whole = run(samples, made, rate, window=1 << 30, chunk=1 << 30)
    np.testing.assert_allclose(run(samples, made, rate, window=997, chunk=511), whole, rtol=0, atol=1e-6)


def test_gains_glide() -> None:
    """A step of the models' gain becomes no step above them: nothing is heard below that was not there."""
    rate = 48_000
    time = np.arange(2 * rate) / rate
    high, octave = np.sin(2 * np.pi * 12_000 * time), np.sin(2 * np.pi * 6_000 * time)
    samples = scaled(np.stack([high + 0.1 * octave]), 0.1)
    made = down(samples, rate)
    made[:, MODEL_RATE:] = 0
    result = run(samples, made, rate)
    assert np.abs(np.diff(result, axis=1)).max() <= np.abs(np.diff(samples, axis=1)).max() * 1.05
    assert level(result, rate, 100, 4_000) < -60


@pytest.mark.parametrize(("rate", "kind"), [(8_000, WithinBand), (16_000, WithinBand), (16_001, HighBand)])
def test_only_what_has_a_top_is_split(rate: int, kind: type) -> None:
    assert isinstance(back_from(MODEL_RATE, rate, 1), kind)


def test_a_recording_of_one_sample() -> None:
    samples = np.full((1, 1), 0.5, np.float32)
    np.testing.assert_allclose(run(samples, down(samples, 48_000), 48_000), samples, atol=1e-6)
