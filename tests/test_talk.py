"""How much somebody speaks, and how loud that is, of a sentence whose speech and noise are known."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.measures.activity import activity
from exdiff_cli.measures.talk import measure_talk


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_the_ratio_of_known_speech_in_known_noise(snr: float) -> None:
    clean = np.concatenate([np.zeros(16_000, np.float32), read_mono(DATA / "clean.wav"), np.zeros(16_000, np.float32)])
    spoken = np.repeat(activity(clean) >= 0.5, 512)[: len(clean)]
    level = np.sqrt(np.square(clean[spoken]).mean())
    hiss = np.random.default_rng(0).normal(size=len(clean)) * level * 10 ** (-snr / 20)
    found = measure_talk([clean + hiss])
    assert found.snr_db == pytest.approx(snr, abs=2.0)
    assert found.speech_share == pytest.approx(spoken.mean(), abs=0.1)


def test_where_nobody_speaks_there_is_no_ratio() -> None:
    found = measure_talk([np.random.default_rng(0).normal(size=32_000) * 0.01])
    assert (found.speech_share, found.snr_db) == (0, None)


def test_windows_are_heard_one_by_one() -> None:
    clip = read_mono(DATA / "noisy.wav")
    alone, twice = measure_talk([clip]), measure_talk([clip, clip])
    assert alone == twice
