"""No result is far worse than its recording: Extract's estimate takes its place, then the recording itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import short_settings
from recordings import samples_of, store, talk

from exdiff_cli.audio.provenance import read_provenance
from exdiff_cli.bundle import Bundle
from exdiff_cli.engine import RunOptions, RunResult, enhance_all
from exdiff_cli.errors import ExitCode
from exdiff_cli.inspection import examine
from exdiff_cli.measures.dnsmos import DnsmosScore
from exdiff_cli.no_harm import FLAGGED, HARMED
from exdiff_cli.report import build
from exdiff_cli.report.build import FILTERED, KEPT
from exdiff_cli.report.sidecar import QualityReport, TakenFrom
from exdiff_cli.settings import OnRisk, Resources
from exdiff_cli.stopping import AbandonedError, Stop

BEFORE = 2.5


class Rates:
    """In place of DNSMOS: recordings have one rating, results those that are given, one after the other."""

    def __init__(self, *results: float) -> None:
        self.left = iter([score for result in results for score in (BEFORE, result)])

    def __call__(self) -> Rates:
        return self

    def score(self, windows: Iterable[Any]) -> Iterator[DnsmosScore]:
        overall = next(self.left)
        return (DnsmosScore(3.0, 3.0, overall) for _ in windows)


def run(folder: Path, bundle: Bundle, **settings: Any) -> RunResult:
    name = f"out-{len(list(folder.iterdir()))}"
    chosen = short_settings(bundle, **{"on_risk": OnRisk.FALLBACK, **settings})
    return enhance_all([folder / "in"], folder / name, bundle, chosen, Resources())


def report_of(result: RunResult) -> QualityReport:
    (outcome,) = result.done
    assert outcome.report is not None
    return outcome.report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store(tmp_path / "in" / "a.wav", 3.3, rate=44_100, channels=2)
    return tmp_path


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda *results: monkeypatch.setattr(build, "Dnsmos", Rates(*results))


def test_what_is_rated_better_is_taken(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE + 0.5)
    report = report_of(run(folder, bundle))
    assert (report.taken_from, report.flags) == (TakenFrom.DIFFUSE, ())


def test_what_is_a_little_worse_is_flagged_and_taken(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - (FLAGGED + HARMED) / 2)
    result = run(folder, bundle)
    report = report_of(result)
    assert report.taken_from is TakenFrom.DIFFUSE
    assert report.flags == ("rated 0.20 below the recording by DNSMOS: listen to both",)
    assert (result.flagged, result.exit_code) == (1, ExitCode.OK)


def test_extract_takes_the_place_of_what_is_far_worse(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5, BEFORE + 0.1, BEFORE + 0.1)
    report = report_of(run(folder, bundle))
    assert (report.taken_from, report.flags, report.guard) == (TakenFrom.EXTRACT, (), ())
    assert report.changes[0] == "rated 0.50 below the recording by DNSMOS: Extract's estimate taken instead"
    (tag,) = read_provenance(Path(report.output.path), "WAV", "PCM_16")
    assert not tag.is_generated
    assert report.notes == (FILTERED,)
    alone = report_of(run(folder, bundle, steps=0))
    assert report.output.sha256 == alone.output.sha256
    assert (report.before, report.after) == (alone.before, alone.after)


def test_the_recording_takes_the_place_of_what_is_far_worse_still(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5, BEFORE - 0.4, BEFORE)
    result = run(folder, bundle)
    report = report_of(result)
    assert (report.taken_from, report.flags) == (TakenFrom.ORIGINAL, ())
    assert [change.split(": ")[-1] for change in report.changes] == [
        "Extract's estimate taken instead",
        "the recording itself taken instead",
    ]
    kept = soundfile.read(Path(report.output.path), dtype="int16")[0]
    np.testing.assert_array_equal(kept, soundfile.read(folder / "in" / "a.wav", dtype="int16")[0])
    assert report.notes == (KEPT,)
    assert read_provenance(Path(report.output.path), "WAV", "PCM_16") == []
    found = examine(Path(report.output.path))
    assert (found.exit_code, found.wrong) == (ExitCode.OK, ())
    assert "made of   original" in found.lines()


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.flac", "PCM_24"), ("a.wav", "PCM_U8")])
@pytest.mark.parametrize("loudness", [None, -30.0])
def test_a_kept_recording_is_sample_by_sample_itself(
    tmp_path: Path, bundle: Bundle, rates: Any, name: str, subtype: str, loudness: float | None
) -> None:
    """Clipped as it is, so that peaks between its samples exceed full scale."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / name, np.clip(12 * talk(3.0)[0], -1, 1), 16_000, subtype)
    rates(BEFORE - 0.5, BEFORE)
    report = report_of(run(tmp_path, bundle, on_risk=OnRisk.KEEP_ORIGINAL, loudness=loudness))
    assert report.taken_from is TakenFrom.ORIGINAL
    assert len(report.changes) == 1
    kept = samples_of(Path(report.output.path))
    np.testing.assert_array_equal(kept, samples_of(tmp_path / "in" / name))


def test_a_loudness_that_was_asked_for_is_no_harm(folder: Path, bundle: Bundle) -> None:
    """DNSMOS itself rates the same sound far lower where it is faint."""
    plain, faint = (report_of(run(folder, bundle, loudness=loudness, strength=0.0)) for loudness in (None, -45.0))
    assert faint.taken_from is TakenFrom.DIFFUSE
    assert faint.after.loudness_lufs == pytest.approx(-45, abs=0.1)
    assert faint.gain == pytest.approx(plain.gain, abs=0.02)


def test_what_takes_long_is_given_up_when_time_is_over(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5)
    stop = Stop(grace=0.0)
    settings = short_settings(bundle, on_risk=OnRisk.FALLBACK)

    def over() -> None:
        raise AbandonedError

    stop.raise_if_over = over  # type: ignore[method-assign]
    found = enhance_all([folder / "in"], folder / "out", bundle, settings, Resources(), options=RunOptions(stop=stop))
    assert (found.done_count, found.failed, found.left) == (0, [], 1)
    assert not (folder / "out" / "a.wav").exists()
    rates(BEFORE + 0.5)
    assert enhance_all([folder / "in"], folder / "out", bundle, settings, Resources()).done_count == 1


def test_an_earlier_result_is_named_where_a_recording_fails(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE + 0.5)
    for on_risk in (OnRisk.FALLBACK, OnRisk.FAIL):
        settings = short_settings(bundle, steps=0, on_risk=on_risk)
        result = enhance_all([folder / "in"], folder / "out", bundle, settings, Resources())
        rates(BEFORE - 0.5)
    (outcome,) = result.failed
    assert str(outcome.error).endswith("out/a.wav is an earlier result, of other settings")


def test_keep_original_does_not_try_extract(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5, BEFORE)
    assert report_of(run(folder, bundle, on_risk=OnRisk.KEEP_ORIGINAL)).taken_from is TakenFrom.ORIGINAL


def test_a_kept_recording_of_a_low_rate_is_not_extended(tmp_path: Path, bundle: Bundle, rates: Any) -> None:
    store(tmp_path / "in" / "a.wav", 3.3, rate=8_000)
    rates(BEFORE - 0.5, BEFORE)
    report = report_of(run(tmp_path, bundle, on_risk=OnRisk.KEEP_ORIGINAL, extend_band=True))
    assert report.output.sample_rate == 8_000
    assert len(report.changes) == 1
    np.testing.assert_array_equal(samples_of(Path(report.output.path)), samples_of(tmp_path / "in" / "a.wav"))


def test_flag_takes_it_all_the_same(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5)
    report = report_of(run(folder, bundle, on_risk=OnRisk.FLAG))
    assert report.taken_from is TakenFrom.DIFFUSE
    assert report.flags


def test_fail_lets_it_fail(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5)
    result = run(folder, bundle, steps=0, on_risk=OnRisk.FAIL)
    (outcome,) = result.failed
    assert (outcome.gated, result.exit_code) == (True, ExitCode.QUALITY_GATE)
    assert "is rated 0.50 below it by DNSMOS; listen to it, or use --on-risk fallback" in str(outcome.error)
    assert not (result.output / "a.wav").exists()


def test_whatever_is_not_speech_is_not_rated_as_speech(folder: Path, bundle: Bundle, rates: Any) -> None:
    rates(BEFORE - 0.5)
    report = report_of(run(folder, bundle, steps=0, query="noise"))
    assert (report.taken_from, report.flags) == (TakenFrom.EXTRACT, ())
