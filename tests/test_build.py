"""The measures in a report: taken of the right samples, and left out where they mean nothing."""

from __future__ import annotations

import math
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import short_settings
from recordings import samples_of, store, talk

from exdiff_cli import __version__
from exdiff_cli.audio.io import probe
from exdiff_cli.bundle import Bundle
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import fingerprint
from exdiff_cli.measures.dnsmos import WINDOW_SAMPLES
from exdiff_cli.report import build
from exdiff_cli.report.build import NOTICE, WINDOW_SECONDS, build_report, cut_windows
from exdiff_cli.report.sidecar import QualityReport
from exdiff_cli.stream import RecordingStream


def report_of(source: Path, bundle: Bundle) -> QualityReport:
    """The report of ``source`` where halving it is all that the models do."""
    settings, target = short_settings(bundle, seed=5), source.parent / "out" / source.name
    job = Job(source, Path(source.name))
    stream = RecordingStream(job, probe(source), fingerprint(source), target, settings, 16_000)
    for piece in stream.pieces():
        stream.accept(piece, np.float32(0.5) * piece.piece.samples)
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


def test_silence_has_no_scores(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "Dnsmos", None)
    soundfile.write(tmp_path / "a.wav", np.zeros(20_000), 16_000)
    report = report_of(tmp_path / "a.wav", bundle)
    assert report.before == report.after
    assert (report.after.dnsmos, report.after.loudness_lufs) == (None, None)
    assert report.after.peak_dbfs == -120


# --- windows ------------------------------------------------------------------------------------------------


def test_windows_are_those_asked_for(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", 25.0, channels=2)
    mono = samples_of(path).mean(axis=0)
    windows = cut_windows(probe(path), [0, 7, 15])
    for start, window in zip((0, 7, 15), windows, strict=True):
        expected = mono[start * 16_000 :][:WINDOW_SAMPLES]
        np.testing.assert_allclose(window, expected, rtol=0, atol=1e-6)


def test_windows_at_another_rate_have_their_length_and_level(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", 30.0, rate=44_100)
    windows = cut_windows(probe(path), [3, 20])
    assert [window.shape for window in windows] == [(WINDOW_SAMPLES,)] * 2
    wide = talk(30.0, 44_100)[0, 3 * 44_100 : (3 + WINDOW_SECONDS) * 44_100]
    assert np.std(windows[0]) == pytest.approx(np.std(wide), rel=0.1)


def test_a_short_recording_is_repeated_to_fill_a_window(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", 2.0)
    (window,) = cut_windows(probe(path), [0])
    clip = samples_of(path)[0]
    np.testing.assert_array_equal(window, np.tile(clip, math.ceil(WINDOW_SAMPLES / 32_000))[:WINDOW_SAMPLES])
