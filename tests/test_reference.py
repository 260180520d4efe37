"""Distances to a reference: their order, bounds and refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from signals import noisy, voiced

from exdiff_cli.errors import DataError, UsageError
from exdiff_cli.measures import SAMPLE_RATE, Floats
from exdiff_cli.measures.reference import estoi, pesq_wb, si_sdr, si_sir_sar


def compare(estimate: Floats, clean: Floats) -> dict[str, float | None]:
    return {"pesq": pesq_wb(estimate, clean), "estoi": estoi(estimate, clean), "si_sdr": si_sdr(estimate, clean)}


@pytest.mark.eval
def test_noise_lowers_every_measure() -> None:
    clean = voiced(3)
    ladder = [compare(noisy(clean, snr), clean) for snr in (30, 20, 10)]
    for name in ("pesq", "estoi", "si_sdr"):
        values = [measures[name] or 0.0 for measures in ladder]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1] + 0.05


@pytest.mark.eval
def test_a_perfect_estimate_reaches_the_top_of_every_measure() -> None:
    clean = voiced(3)
    best = compare(clean, clean)
    assert best["pesq"] == pytest.approx(4.64, abs=0.01)
    assert best["estoi"] == pytest.approx(1.0)
    assert best["si_sdr"] == 100.0


def test_si_sdr_is_the_ratio_of_orthogonal_parts_at_any_scale() -> None:
    clean = voiced(2)
    noise = np.random.default_rng(0).normal(size=clean.size)
    noise -= (noise @ clean) / (clean @ clean) * clean
    noise *= np.sqrt((clean @ clean) / (noise @ noise)) * 10 ** (-12 / 20)
    for scale in (1e-6, 1.0, -3.0, 1e4):
        assert si_sdr(scale * (clean + noise), clean) == pytest.approx(12, abs=1e-3)
        assert si_sdr(clean + noise, scale * clean) == pytest.approx(12, abs=1e-3)
    assert si_sdr(noise, clean.astype(np.float64)) == -100.0


def test_interference_and_artefacts_are_told_apart() -> None:
    """An estimate of known parts: speech, a tenth of the noise's power in it, and something of its own."""
    generator = np.random.default_rng(0)
    clean = voiced(2).astype(np.float64)
    noise, artefact = generator.normal(size=(2, clean.size))
    for part, others in ((noise, (clean,)), (artefact, (clean, noise))):
        for other in others:
            part -= (part @ other) / (other @ other) * other
        part *= np.sqrt((clean @ clean) / (part @ part))
    estimate = 3 * (clean + 10 ** (-12 / 20) * noise + 10 ** (-18 / 20) * artefact)
    sir, sar = si_sir_sar(estimate, clean, clean + 0.7 * noise)
    assert sir == pytest.approx(12)
    assert sar == pytest.approx(18)
    assert si_sdr(estimate, clean) == pytest.approx(-10 * np.log10(10**-1.2 + 10**-1.8))


def test_without_noise_there_is_no_interference() -> None:
    clean = voiced(1)
    assert si_sir_sar(clean, clean, clean) == (None, None)
    assert si_sir_sar(np.zeros_like(clean), clean, clean + 1) == (None, None)
    assert si_sir_sar(clean, clean, 2 * clean) == (None, None)


@pytest.mark.eval
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [0, 1, 200, 1000, 16_000])
def test_silence_has_no_measures(samples: int) -> None:
    silence, noise = np.zeros(samples), np.random.default_rng(0).normal(size=samples)
    nothing = {"pesq": None, "estoi": None, "si_sdr": None}
    assert compare(silence, silence) == nothing
    assert compare(noise, silence) == nothing
    assert compare(silence, noise) == nothing


@pytest.mark.eval
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [1, 255, 257, 1000, 3000])
def test_moments_have_no_pesq_and_no_estoi(samples: int) -> None:
    noise = np.random.default_rng(0).normal(size=samples)
    measures = compare(noise, noise)
    assert (measures["pesq"], measures["estoi"]) == (None, None)


@pytest.mark.eval
def test_pesq_of_many_utterances_is_the_mean_of_pieces() -> None:
    # 60 bursts of a quarter of a second overrun the ITU code when given at once.
    bursts = np.tile(np.repeat([1.0, 0.0], 4000), 60)
    clean = np.random.default_rng(0).normal(size=bursts.size) * bursts * 0.1
    estimate = noisy(clean, 20)
    half = clean.size // 2
    halves = [pesq_wb(estimate[part], clean[part]) for part in (slice(half), slice(half, None))]
    assert pesq_wb(estimate, clean) == pytest.approx(np.mean([score or 0 for score in halves]))


@pytest.mark.eval
def test_pieces_without_speech_do_not_count() -> None:
    clean, estimate = voiced(3), noisy(voiced(3), 20)
    padding = np.zeros(40 * SAMPLE_RATE)
    score = pesq_wb(np.concatenate([estimate, padding]), np.concatenate([clean, padding]))
    assert score is not None
    assert score > 1.0


@pytest.mark.eval
def test_pairs_that_do_not_match_are_data_errors() -> None:
    clean = voiced(1)
    with pytest.raises(DataError, match="15999"):
        compare(clean[1:], clean)
    with pytest.raises(DataError, match="NaN"):
        compare(np.full_like(clean, np.nan), clean)


@pytest.mark.parametrize("package", ["pesq", "pystoi"])
def test_without_the_extra_the_remedy_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"pip install 'exdiff\[eval\]'") as failure:
        compare(voiced(1), voiced(1))
    assert "\n" not in str(failure.value)
