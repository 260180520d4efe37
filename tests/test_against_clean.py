"""All measures at once: every group gives what it says, and clean speech is at the ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.errors import UsageError
from exdiff_cli.measures import against_clean
from exdiff_cli.measures.against_clean import GROUPS, Trio, choose_groups, measure, measure_names
from exdiff_cli.measures.dnsmos import DnsmosScore


@pytest.fixture(autouse=True)
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against_clean, "dnsmos_reference", lambda audio: DnsmosScore(3.0, 3.0, 3.0))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is warned of; the two optional packages count as installed."""
    lines: list[str] = []
    monkeypatch.setattr(against_clean, "find_spec", lambda name: name)
    monkeypatch.setattr(against_clean.log, "warning", lambda text, *values: lines.append(text % values))
    return lines


@pytest.mark.eval
def test_clean_speech_against_itself_is_at_the_ceiling() -> None:
    clean, noisy = read_mono(DATA / "clean.wav"), read_mono(DATA / "noisy.wav")
    itself, mixed = measure(Trio(clean, clean, noisy)), measure(Trio(noisy, clean, noisy))
    assert list(itself) == list(mixed) == measure_names(GROUPS)
    assert itself["pesq"] == pytest.approx(4.64, abs=0.01)
    assert itself["estoi"] == pytest.approx(1.0, abs=1e-6)
    assert itself["si_sdr"] == 100.0
    for name in ("pesq", "csig", "cbak", "covl", "estoi", "si_sdr", "si_sir"):
        better, worse = itself[name], mixed[name]
        assert better is not None
        assert worse is not None
        assert better > worse + 0.05, name


@pytest.mark.eval
def test_silence_has_no_scores_against_a_reference() -> None:
    clean = read_mono(DATA / "clean.wav")
    scores = measure(Trio(np.zeros_like(clean), clean, clean + 0.1), ("pesq", "estoi", "separation"))
    assert set(scores.values()) == {None}


@pytest.mark.eval
@pytest.mark.parametrize("group", GROUPS)
def test_every_group_gives_its_measures(group: str) -> None:
    clean, noisy = read_mono(DATA / "clean.wav"), read_mono(DATA / "noisy.wav")
    assert tuple(measure(Trio(noisy, clean, noisy), (group,))) == GROUPS[group][0]


def test_what_cannot_be_measured_here_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(against_clean, "find_spec", lambda name: None if name == "pesq" else name)
    assert choose_groups(None) == tuple(name for name in GROUPS if name != "pesq")
    assert said == ["not measured: pesq; for these, pip install 'exdiff[eval]'"]
    assert choose_groups("pesq") == ("pesq",)  # Asked for, it is an error once it is to be measured.


def test_groups_are_chosen_by_name(said: list[str]) -> None:
    assert choose_groups(None) == tuple(GROUPS)
    assert said == []
    assert choose_groups("dnsmos, pesq") == ("dnsmos", "pesq")
    with pytest.raises(UsageError, match="there is pesq, estoi, separation, pauses, dnsmos, voice, phonemes"):
        choose_groups("pesq,mos")
