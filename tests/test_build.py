"""The measures in a report: taken of the right samples, and left out where they mean nothing."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from bundles import short_settings
from numpy.typing import NDArray
from recordings import DATA, samples_of, store, talk
from scipy.signal import resample_poly, welch

from exdiff_cli import __version__
from exdiff_cli.audio.io import probe
from exdiff_cli.audio.recording import Samples
from exdiff_cli.bundle import Bundle
from exdiff_cli.enhancer import Enhanced, Enhancer
from exdiff_cli.guard import Reason, Risk
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import fingerprint
from exdiff_cli.measures.activity import FRAME_SAMPLES, levelled_activity
from exdiff_cli.measures.dnsmos import WINDOW_SAMPLES
from exdiff_cli.measures.talk import Talk
from exdiff_cli.report import build
from exdiff_cli.report.build import FILTERED, NOT_DRAWN, NOTICE, UNRATED, WINDOW_SECONDS, build_report, cut_windows
from exdiff_cli.report.sidecar import QualityReport
from exdiff_cli.settings import OnRisk, Ratings
from exdiff_cli.stream import RecordingStream


def report_of(
    source: Path, bundle: Bundle, factor: float = 0.5, risks: tuple[Risk, ...] = (), **changes: Any
) -> QualityReport:
    """The report of ``source`` where halving it, or another factor, is all that the models do."""
    settings, target = short_settings(bundle, seed=5, **changes), source.parent / "out" / source.name
    job = Job(source, Path(source.name))
    stream = RecordingStream(job, probe(source), fingerprint(source), target, settings, 16_000)
    for piece in stream.pieces():
        stream.accept(piece, Enhanced(np.float32(factor) * piece.piece.samples, risks))
    stream.complete()
    report = build_report(stream, settings, bundle)
    stream.publish()
    return report


def test_a_report_says_what_is_there(tmp_path: Path, bundle: Bundle) -> None:
    source = store(tmp_path / "a.wav", 3.0)
    report = report_of(source, bundle)
    for file, path in ((report.input, source), (report.output, tmp_path / "out" / "a.wav")):
        assert file.path == str(path)
        assert file.sha256 == sha256(path.read_bytes()).hexdigest()
        assert (file.bytes, file.frames, file.duration_s) == (path.stat().st_size, 48_000, 3.0)
    assert (report.tool_version, report.seed, report.notes) == (__version__, 5, (NOTICE,))
    assert report.settings["bundle"] == bundle.name
    assert report.settings["seed"] == 5
    assert report.seconds["score"] > 0
    assert report.real_time_factor == pytest.approx(sum(report.seconds.values()) / 3, abs=1e-3)


def test_a_report_says_where_nothing_is_made_up(tmp_path: Path, bundle: Bundle) -> None:
    assert report_of(store(tmp_path / "a.wav", 3.0), bundle, steps=0).notes == (FILTERED,)


def test_what_is_too_short_is_not_rated_and_says_so(tmp_path: Path, bundle: Bundle) -> None:
    report = report_of(store(tmp_path / "a.wav", 1.9), bundle, factor=0.9)
    assert (report.before.dnsmos, report.after.dnsmos, report.gain) == (None, None, None)
    assert UNRATED in report.notes
    assert report.before.speech_share is not None


def test_speech_that_the_run_found_is_not_looked_for_again(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same as would be found."""
    source, looked = store(tmp_path / "a.wav", 3.0), []
    fresh = report_of(source, bundle)
    whole = levelled_activity

    def look(window: Samples) -> Any:
        looked.append(window)
        return whole(window)

    monkeypatch.setattr(build, "levelled_activity", look)
    settings = replace(short_settings(bundle), segment=65_536)
    job, target = Job(source, Path("a.wav")), tmp_path / "out" / "b.wav"
    stream = RecordingStream(job, probe(source), fingerprint(source), target, settings, 16_000)
    enhancer = Enhancer(bundle, settings, torch.device("cpu"))
    for item in stream.pieces():
        stream.accept(item, replace(enhancer.enhance([item.piece])[0], samples=np.float32(0.5) * item.piece.samples))
    stream.complete()
    found = build_report(stream, settings, bundle)
    stream.discard()
    assert len(looked) == 1
    assert found.before == fresh.before


RISK = (Risk(0, 512, Reason.ADDED, 9.0),)


@pytest.mark.parametrize(
    ("factor", "risks", "on_risk", "rated"),
    [
        (0.25, (), OnRisk.FALLBACK, True),
        (0.9, RISK, OnRisk.FLAG, True),
        (0.9, RISK, OnRisk.FALLBACK, False),
        (0.9, (), OnRisk.FLAG, False),
    ],
    ids=["lost speech", "a risk that is left", "a risk that is mended", "nothing odd"],
)
def test_what_is_short_is_rated_if_it_is_suspect(
    tmp_path: Path, bundle: Bundle, factor: float, risks: tuple[Risk, ...], on_risk: OnRisk, rated: bool
) -> None:
    report = report_of(store(tmp_path / "a.wav", 1.9), bundle, factor, risks, on_risk=on_risk)
    assert (report.gain is not None) == rated
    assert (UNRATED in report.notes) != rated


@pytest.mark.parametrize(("factor", "drawn", "rated"), [(0.9, False, False), (0.9, True, True), (0.25, False, True)])
def test_a_recording_that_others_stand_for_is_rated_if_it_is_suspect(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, factor: float, drawn: bool, rated: bool
) -> None:
    monkeypatch.setattr(build, "is_drawn", lambda content_sha256, seconds: drawn)
    source = store(tmp_path / "a.wav", 3.0)
    report = report_of(source, bundle, factor, ratings=Ratings.SAMPLED)
    assert (report.gain is not None) == rated
    assert (NOT_DRAWN in report.notes) != rated
    assert report_of(source, bundle, factor).gain is not None


def test_measures_are_of_both_files(tmp_path: Path, bundle: Bundle) -> None:
    report = report_of(store(tmp_path / "a.wav", 3.0), bundle)
    before, after = report.before, report.after
    for measures in (before, after):
        assert measures.dnsmos is not None
        assert all(1 < score < 5 for score in measures.dnsmos.model_dump().values())
    assert before.loudness_lufs is not None
    assert after.loudness_lufs == pytest.approx(before.loudness_lufs - 6.02, abs=0.05)
    assert after.peak_dbfs == pytest.approx(before.peak_dbfs - 6.02, abs=0.05)
    assert after.noise_floor_dbfs == pytest.approx(before.noise_floor_dbfs - 6.02, abs=0.2)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_each_measure_is_what_another_way_gives(tmp_path: Path, bundle: Bundle, rate: int) -> None:
    """Of real talk in noise, stereo: each computed here anew, from the whole file at once."""
    clip = np.tile(soundfile.read(DATA / "noisy.wav", dtype="float32")[0], 2)
    mono = resample_poly(clip, rate // 100, 160)
    soundfile.write(tmp_path / "a.wav", np.stack([mono, 0.5 * mono], axis=1), rate, "FLOAT")
    measured = report_of(tmp_path / "a.wav", bundle).before
    samples = soundfile.read(tmp_path / "a.wav")[0]
    assert measured.peak_dbfs == pytest.approx(decibels(np.abs(samples).max() ** 2), abs=0.01)
    assert measured.true_peak_dbfs == pytest.approx(decibels(np.abs(resample_poly(samples, 8, 1)).max() ** 2), abs=0.15)
    assert measured.clipped_share == 0
    frequencies, density = welch(samples[:, 0], rate, nperseg=4096)
    within = frequencies[density > density.max() * 1e-6]
    assert measured.bandwidth_hz == pytest.approx(within.max(), abs=rate / 40)
    talk_of, rest = spoken_parts(samples.mean(axis=1), rate)
    assert measured.snr_db is not None
    assert measured.snr_db == pytest.approx(
        decibels((np.square(talk_of).mean() - np.square(rest).mean()) / np.square(rest).mean()), abs=1.5
    )
    assert measured.speech_share == pytest.approx(len(talk_of) / len(samples), abs=0.05)


def decibels(power: float) -> float:
    return float(10 * np.log10(power))


def spoken_parts(mono: NDArray[np.float64], rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the detector's original takes for speech, and what it is sure that is none."""
    at_16k = resample_poly(mono, 160, rate // 100)
    speech = levelled_activity(at_16k)
    every = np.repeat(speech, FRAME_SAMPLES)[: len(at_16k)]
    position = np.minimum((np.arange(len(mono)) * 16_000 / rate).astype(int), len(every) - 1)
    return mono[every[position] >= 0.5], mono[every[position] < 0.15]


@pytest.mark.parametrize("second", [-1.0, -0.9])
def test_channels_that_cancel_are_measured_as_one_of_them(tmp_path: Path, bundle: Bundle, second: float) -> None:
    """Of the recording and of its result, which keep the same channel: that is as good as the mono recording."""
    clip = np.tile(soundfile.read(DATA / "noisy.wav")[0], 2)
    reports = {}
    for name, samples in {"mono": clip, "inverted": np.stack([clip, second * clip], axis=1)}.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000, "FLOAT")
        reports[name] = report_of(tmp_path / f"{name}.wav", bundle)
    for side in ("before", "after"):
        mono, inverted = (getattr(reports[name], side) for name in ("mono", "inverted"))
        assert inverted.speech_share > 0.5
        assert (inverted.snr_db, inverted.speech_share) == (mono.snr_db, mono.speech_share)
        assert inverted.dnsmos.model_dump() == pytest.approx(mono.dnsmos.model_dump(), abs=1e-3)


def test_a_result_is_heard_where_its_recording_is(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the channels of the result do not cancel each other any more, and the other one is louder."""
    heard: list[Samples] = []

    def measured(windows: list[Samples], speech: list[Any]) -> Talk:
        heard.extend(windows)
        return Talk(0.0, None)

    monkeypatch.setattr(build, "measure_talk", measured)
    clip = soundfile.read(DATA / "noisy.wav", dtype="float32")[0]
    source, settings = tmp_path / "a.wav", short_settings(bundle)
    soundfile.write(source, np.stack([clip, -0.9 * clip], axis=1), 16_000, "FLOAT")
    job = Job(source, Path("a.wav"))
    stream = RecordingStream(job, probe(source), fingerprint(source), tmp_path / "b.wav", settings, 16_000)
    for piece in stream.pieces():
        stream.accept(piece, Enhanced(piece.piece.samples))
    stream.complete()
    result = np.stack([0.1 * clip, 0.7 * clip], axis=1)
    soundfile.write(stream.writer.temporary, result, 16_000, "FLOAT", format="WAV")
    build_report(stream, settings, bundle)
    stream.discard()
    before, after = heard
    np.testing.assert_allclose(before, clip, atol=1e-6)
    np.testing.assert_allclose(after, 0.1 * clip, atol=1e-6)


def test_silence_has_no_scores(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "Dnsmos", None)
    soundfile.write(tmp_path / "a.wav", np.zeros(20_000), 16_000)
    report = report_of(tmp_path / "a.wav", bundle)
    assert report.before == report.after
    assert (report.after.dnsmos, report.after.loudness_lufs) == (None, None)
    assert (report.after.peak_dbfs, report.after.true_peak_dbfs) == (-120, -120)
    assert (report.after.bandwidth_hz, report.after.snr_db, report.after.speech_share) == (None, None, 0)


# --- windows ------------------------------------------------------------------------------------------------


def test_windows_are_those_asked_for(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", 25.0, channels=2)
    mono = samples_of(path).mean(axis=0)
    windows = cut_windows(probe(path), [0, 7, 15], {})
    for start, window in zip((0, 7, 15), windows, strict=True):
        expected = mono[start * 16_000 :][:WINDOW_SAMPLES]
        np.testing.assert_allclose(window, expected, rtol=0, atol=1e-6)


def test_windows_at_another_rate_have_their_length_and_level(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", 30.0, rate=44_100)
    windows = cut_windows(probe(path), [3, 20], {})
    assert [window.shape for window in windows] == [(WINDOW_SAMPLES,)] * 2
    wide = talk(30.0, 44_100)[0, 3 * 44_100 : (3 + WINDOW_SECONDS) * 44_100]
    assert np.std(windows[0]) == pytest.approx(np.std(wide), rel=0.1)


def test_a_short_recording_gives_what_there_is(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", 2.0)
    (window,) = cut_windows(probe(path), [0], {})
    clip = samples_of(path)[0]
    np.testing.assert_array_equal(window, clip)
