"""The evaluation: it measures the right pairs, and what it enhances is what a run gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import make_bundle, short_settings
from recordings import samples_of, store

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.bundle import Bundle, load_bundle
from exdiff_cli.datasets import Pair, find_pairs
from exdiff_cli.engine import enhance_all
from exdiff_cli.enhancer import Enhancer
from exdiff_cli.evaluate import Comparison, enhance_samples, evaluate
from exdiff_cli.measures import against_clean
from exdiff_cli.measures.against_clean import Trio, measure
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.scores import Scores
from exdiff_cli.settings import Resources

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against_clean, "dnsmos_reference", lambda audio: DnsmosScore(3.0, 3.0, 3.0))


def run(pairs: list[Pair], bundle: Bundle, *steps: int, latents_too: bool = True) -> Scores:
    comparison = Comparison(steps, ("separation", "dnsmos"), latents_too)
    return evaluate(pairs, bundle, short_settings(bundle), comparison, CPU)


def test_every_system_is_compared_on_every_pair(folders: tuple[Path, Path], bundle: Bundle) -> None:
    noisy, clean = folders
    store(noisy / "b.wav", 1.0)
    store(clean / "b.wav", 1.0, rate=8000)
    scores = run(find_pairs(noisy, clean), bundle, 1, 3)
    assert [(system.name, system.steps) for system in scores.systems] == [
        ("noisy", 0),
        ("extract", 0),
        ("diffuse, latents dropped", 1),
        ("ex-diff", 1),
        ("diffuse, latents dropped", 3),
        ("ex-diff", 3),
    ]
    assert len(scores.rows) == 12
    assert len({row.measures["si_sdr"] for row in scores.rows}) == 12
    assert list(scores.measures) == ["si_sdr", "si_sir", "si_sar", "sig", "bak", "ovrl"]
    assert [system.name for system in run(find_pairs(noisy, clean), bundle, 1, latents_too=False).systems] == [
        "noisy",
        "extract",
        "ex-diff",
    ]


def test_other_bundles_are_compared_too(folders: tuple[Path, Path], bundle: Bundle, tmp_path: Path) -> None:
    """A bundle of the same Extract adds its Diffuse alone; one of another Extract adds that, too."""
    other = load_bundle(str(make_bundle(tmp_path / "other", seed=5)))
    sibling = replace(other, name="sibling", separator=bundle.separator)
    comparison = Comparison([1], ("separation",), False, [replace(other, name="stranger"), sibling])
    scores = evaluate(find_pairs(*folders), bundle, short_settings(bundle), comparison, CPU)
    assert [system.label for system in scores.systems] == [
        "noisy",
        "extract",
        "ex-diff, 1 step",
        "extract of stranger",
        "stranger, 1 step",
        "sibling, 1 step",
    ]
    assert len({row.measures["si_sdr"] for row in scores.rows}) == 6


def test_scores_are_of_the_right_signals(folders: tuple[Path, Path], bundle: Bundle) -> None:
    (pair,) = find_pairs(*folders)
    signals = pair.read()
    scores = run([pair], bundle, 1)
    enhanced = enhance_samples(signals.noisy, signals.sha256, Enhancer(bundle, short_settings(bundle, steps=1), CPU))
    for system, estimate in ((scores.systems[0], signals.noisy), (scores.systems[-1], enhanced)):
        (row,) = scores.of(system)
        expected = measure(Trio(estimate, signals.clean, signals.noisy), ("separation", "dnsmos"))
        assert row.measures == pytest.approx(expected, abs=1e-3)


def test_pairs_are_tagged_by_what_is_known_or_measured(folders: tuple[Path, Path], bundle: Bundle) -> None:
    (pair,) = find_pairs(*folders)
    told = replace(pair, name="told", tags={"snr": "2.5", "noise": "bus"})
    finished: list[int] = []
    scores = evaluate(
        [pair, told],
        bundle,
        short_settings(bundle),
        Comparison([], ("separation",)),
        CPU,
        lambda: finished.append(1),
    )
    assert finished == [1, 1]
    assert dict(scores.rows[-1].tags) == {"snr": "2.5", "noise": "bus"}
    assert set(scores.rows[0].tags) == {"snr"}
    assert scores.only("noise", "bus").pairs == 1


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
