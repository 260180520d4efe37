"""How much somebody speaks, and how loud that is, of a sentence whose speech and noise are known."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import activity
from exdiff_cli.measures.talk import Talk, fall_of_speech, measure_talk


def talk_of(windows: list[Floats]) -> Talk:
    return measure_talk(windows, [activity(window) for window in windows])


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_the_ratio_of_known_speech_in_known_noise(snr: float) -> None:
    clean = np.concatenate([np.zeros(16_000, np.float32), read_mono(DATA / "clean.wav"), np.zeros(16_000, np.float32)])
    spoken = np.repeat(activity(clean) >= 0.5, 512)[: len(clean)]
    level = np.sqrt(np.square(clean[spoken]).mean())
    hiss = np.random.default_rng(0).normal(size=len(clean)) * level * 10 ** (-snr / 20)
    found = talk_of([clean + hiss])
    assert found.snr_db == pytest.approx(snr, abs=2.0)
    assert found.speech_share == pytest.approx(spoken.mean(), abs=0.1)


def test_where_nobody_speaks_there_is_no_ratio() -> None:
    found = talk_of([np.random.default_rng(0).normal(size=32_000) * 0.01])
    assert (found.speech_share, found.snr_db) == (0, None)


def test_windows_are_heard_one_by_one() -> None:
    clip = read_mono(DATA / "noisy.wav")
    alone, twice = talk_of([clip]), talk_of([clip, clip])
    assert alone == twice


def test_how_much_fainter_speech_became() -> None:
    clip = read_mono(DATA / "clean.wav")
    speech = [activity(clip)]
    assert fall_of_speech([clip], [clip / 2], speech) == pytest.approx(6.0, abs=0.1)
    between = np.repeat(speech[0] < 0.5, 512)[: len(clip)]
    assert fall_of_speech([clip], [np.where(between, 0, clip)], speech) == 0


def test_where_nobody_speaks_no_speech_is_lost() -> None:
    hiss = np.random.default_rng(0).normal(size=32_000) * 0.01
    assert fall_of_speech([hiss], [hiss / 100], [activity(hiss)]) == 0
