"""Phoneme error rate: real speech is recognised, noise costs, and edits are counted right."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.measures import phonemes as module
from exdiff_cli.measures.phonemes import edit_distance, phoneme_error_rate, phonemes

installed = pytest.mark.skipif(find_spec("pocketsphinx") is None, reason="needs the extra `eval`")


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2)],
)
def test_edit_distance(first: str, second: str, edits: int) -> None:
    assert edit_distance(first, second) == edit_distance(second, first) == edits


@installed
def test_speech_is_heard_alike_at_any_level_and_noise_costs() -> None:
    clean, noisy = read_mono(DATA / "clean.wav"), read_mono(DATA / "noisy.wav")
    heard = phonemes(clean)
    assert heard is not None
    assert len(heard) > 10
    assert "SIL" not in heard
    assert phoneme_error_rate(clean, clean) == phoneme_error_rate(clean * 0.25, clean) == 0
    worse, worst = phoneme_error_rate(noisy, clean), phoneme_error_rate(np.zeros_like(clean), clean)
    assert worse is not None
    assert 0 < worse <= 1
    assert worst == pytest.approx(1.0, abs=0.1)


@installed
def test_silence_has_no_phonemes_to_compare() -> None:
    assert phoneme_error_rate(np.ones(16_000, np.float32), np.zeros(16_000, np.float32)) is None
    assert phoneme_error_rate(np.zeros(0, np.float32), np.zeros(0, np.float32)) is None


def test_without_the_package_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_recogniser", lambda: None)
    assert phoneme_error_rate(np.ones(16_000), np.ones(16_000)) is None
