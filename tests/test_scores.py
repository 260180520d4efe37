"""Scores: means, intervals, paired gains and parts by tag, on figures small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from exdiff_cli.scores import MOST_RESAMPLED, Mean, Row, Scores, System, mean_of

NOISY, EXTRACT, EXDIFF = System("noisy"), System("extract"), System("ex-diff", 4)


def scores(pairs: int = 3) -> Scores:
    """PESQ is the pair's number, plus 1 by Extract and 1.5 by Ex-Diff; ESTOI is defined on the first pair alone."""
    gains = {NOISY: 0.0, EXTRACT: 1.0, EXDIFF: 1.5}
    rows = [
        Row(
            f"{pair}.wav",
            {"snr": str(10 - 5 * pair), "noise": "bus" if pair else "rain"},
            system,
            {"pesq": pair + gain, "estoi": None if pair else 0.5},
        )
        for pair in range(pairs)
        for system, gain in gains.items()
    ]
    return Scores(rows, tuple(gains), ("pesq", "estoi"))


def test_means_are_over_what_is_defined() -> None:
    found = scores()
    mean, single = found.mean(EXTRACT, "pesq"), found.mean(EXTRACT, "estoi")
    assert mean is not None
    assert (mean.value, mean.count) == (2.0, 3)
    assert mean.low < 2.0 < mean.high
    assert single == Mean(0.5, 0.5, 0.5, 1)
    assert (found.average(EXTRACT, "pesq"), found.average(EXTRACT, "estoi")) == (2.0, 0.5)
    assert found.only("noise", "bus").average(EXTRACT, "estoi") is None
    assert mean_of([None, None]) is None
    assert found.pairs == 3


def test_gains_are_paired() -> None:
    """The pairs differ by 1 among themselves and the systems by exactly 0.5, so there is no spread."""
    assert scores().gain(EXDIFF, EXTRACT, "pesq") == Mean(0.5, 0.5, 0.5, 3)
    assert scores().gain(EXDIFF, EXTRACT, "estoi") == Mean(0.0, 0.0, 0.0, 1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        mean = mean_of(generator.normal(size=40).tolist())
        assert mean is not None
        hits += mean.low < 0 < mean.high
    assert 50 <= hits <= 60


def test_parts_by_tag() -> None:
    assert scores().tag_values("snr") == ["0", "5", "10"]
    assert scores().tag_values("noise") == ["bus", "rain"]
    assert scores().tag_values("channel") == []
    part = scores().only("noise", "bus")
    assert (part.pairs, part.systems) == (2, scores().systems)


@pytest.mark.parametrize(
    ("system", "label"), [(NOISY, "noisy"), (EXDIFF, "ex-diff, 4 steps"), (System("a", 1), "a, 1 step")]
)
def test_labels(system: System, label: str) -> None:
    assert system.label == label


def test_of_very_many_values_the_interval_is_as_wide_as_that_of_resamples() -> None:
    values = list(np.random.default_rng(0).normal(1.0, 2.0, MOST_RESAMPLED))
    few, many = mean_of(values), mean_of([*values, *values])
    assert few is not None
    assert many is not None
    assert many.value == pytest.approx(few.value)
    assert (many.high - many.low) * np.sqrt(2) == pytest.approx(few.high - few.low, rel=0.05)
