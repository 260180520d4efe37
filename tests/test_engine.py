"""The run: what goes in comes out once, whole and in its own format, whatever happens on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import make_bundle, short_settings
from recordings import cut_off, encode, samples_of, store, talk

from exdiff_cli import engine, no_harm
from exdiff_cli.audio.io import AUDIO_SUFFIXES, AtomicWriter, probe
from exdiff_cli.bundle import Bundle, load_bundle
from exdiff_cli.discover import STATE_FOLDER, Discovery, discover
from exdiff_cli.engine import Listener, Outcome, RunOptions, RunResult, enhance_all, enhance_found
from exdiff_cli.enhancer import Enhanced, Enhancer
from exdiff_cli.errors import ExdiffError, ExitCode, LockedError, NoInputError, OutputError, RecordingError, UsageError
from exdiff_cli.lock import locked
from exdiff_cli.manifest import Manifest, State, fingerprint
from exdiff_cli.measures.dnsmos import DnsmosScore
from exdiff_cli.measures.rated import LEAST_SECONDS
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.report import build
from exdiff_cli.report.sidecar import QualityReport, read_sidecar, sidecar_path
from exdiff_cli.selection import Selection, Shard
from exdiff_cli.settings import OnRisk, Resources, Settings
from exdiff_cli.stages import STAGES
from exdiff_cli.stopping import Stop
from exdiff_cli.stream import RecordingStream

TREE: dict[str, dict[str, Any]] = {
    "phone.wav": {"rate": 8_000},
    "site/a/long.wav": {"seconds": 12.0},
    "site/a/short.wav": {"seconds": 0.3},
    "site/b/disc.wav": {"rate": 44_100, "channels": 2},
    "site/b/studio.flac": {"rate": 48_000, "subtype": "PCM_24"},
    "telephone.wav": {"rate": 8_000, "seconds": 0.7, "subtype": "ULAW"},
    "web.opus": {"rate": 48_000, "seconds": 1.0, "container": "OGG", "subtype": "OPUS"},
}
EXACT = [name for name in TREE if name not in ("telephone.wav", "web.opus")]
"""Whose formats do not make a step of the last bit of a sample."""


@pytest.fixture(scope="module", autouse=True)
def _quick_scores() -> Iterator[None]:
    """The network behind DNSMOS takes longer than all the rest; tests/test_build.py runs it."""

    class Quick:
        def score(self, windows: list[Any]) -> list[DnsmosScore]:
            return [DnsmosScore(3.0, 3.0, 3.0) for _ in windows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "Dnsmos", Quick)
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording of each kind. Tests must leave it as it is."""
    root = tmp_path_factory.mktemp("tree") / "in"
    for number, (name, kind) in enumerate(TREE.items()):
        path = store(root / name, **kind)
        os.utime(path, ns=(10**18, 10**18 + number * 10**12))
    return root


@dataclass(frozen=True)
class Run:
    """A bundle and settings, ready to be run."""

    bundle: Bundle
    settings: Settings

    def __call__(
        self,
        paths: Path | list[Path],
        out: Path,
        batch: int = 4,
        listener: Listener | None = None,
        options: RunOptions | None = None,
        **settings: Any,
    ) -> RunResult:
        chosen = short_settings(self.bundle, **settings) if settings else self.settings
        given = [paths] if isinstance(paths, Path) else paths
        return enhance_all(given, out, self.bundle, chosen, Resources(batch=batch), listener, options)


@pytest.fixture(scope="module")
def run(bundle: Bundle) -> Run:
    return Run(bundle, short_settings(bundle))


@pytest.fixture(scope="module")
def baseline(tree: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The tree, enhanced without any trouble. Tests must leave it as it is."""
    return run(tree, tmp_path_factory.mktemp("baseline") / "out")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Three short recordings that a test may damage."""
    for number in range(3):
        store(tmp_path / "calls" / f"{number}.wav", 1.5 + number)
    return tmp_path / "calls"


def leftovers(out: Path) -> list[Path]:
    return list(out.rglob(TEMPORARY_GLOB))


def states(out: Path) -> dict[str, State]:
    with Manifest.open(out, read_only=True) as manifest:
        return {row.relative.as_posix(): row.state for row in manifest.rows()}


def assert_same(first: Path, second: Path) -> None:
    np.testing.assert_allclose(samples_of(first), samples_of(second), rtol=0, atol=1e-4)


def report_of(result: RunResult, name: str) -> QualityReport:
    (found,) = (outcome.report for outcome in result.done if outcome.job.relative.as_posix() == name)
    assert found is not None
    return found


def errors_of(result: RunResult) -> dict[str, str]:
    """Failures by source name, one each, each one line."""
    outcomes = result.done + result.failed
    assert len({outcome.job for outcome in outcomes}) == len(outcomes)
    errors = {outcome.job.source.name: str(outcome.error) for outcome in result.failed}
    assert not any("\n" in error for error in errors.values())
    return errors


# --- what comes out -----------------------------------------------------------------------------------------


def test_all_is_done_and_nothing_else_lies_there(baseline: RunResult) -> None:
    assert baseline.exit_code is ExitCode.OK
    assert {outcome.job.relative.as_posix() for outcome in baseline.done} == set(TREE)
    files = {path.relative_to(baseline.output).as_posix() for path in baseline.output.rglob("*") if path.is_file()}
    expected = {*TREE, *(f"{name}.quality.json" for name in TREE)}
    assert {name for name in files if not name.startswith(STATE_FOLDER)} == expected
    assert set(states(baseline.output).values()) == {State.DONE}


@pytest.mark.parametrize("name", TREE)
def test_format_length_and_time_are_kept(baseline: RunResult, tree: Path, name: str) -> None:
    before, after = probe(tree / name), probe(baseline.output / name)
    for what in ("sample_rate", "channels", "frames", "container", "subtype", "endian", "modified_ns"):
        assert getattr(after, what) == getattr(before, what), what


@pytest.mark.parametrize("name", TREE)
def test_the_sound_is_another(baseline: RunResult, tree: Path, name: str) -> None:
    before, after = samples_of(tree / name), samples_of(baseline.output / name)
    assert np.abs(after - before).max() > 0.01
    assert np.abs(after).max() > 0.01


def test_originals_are_untouched(run: Run, tree: Path, tmp_path: Path) -> None:
    def state() -> dict[Path, tuple[bytes, int, int]]:
        found = (path for path in tree.rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in found}

    before = state()
    run([tree / "phone.wav", tree / "site/b/studio.flac"], tmp_path / "out")
    assert state() == before


def test_the_report_tells_the_truth(baseline: RunResult, tree: Path, run: Run) -> None:
    for name in TREE:
        report = read_sidecar(sidecar_path(baseline.output / name))
        assert report == report_of(baseline, name)
        assert report.input.sha256 == sha256((tree / name).read_bytes()).hexdigest()
        assert report.output.sha256 == sha256((baseline.output / name).read_bytes()).hexdigest()
        assert report.output.bytes == (baseline.output / name).stat().st_size
        assert report.settings_key == run.settings.cache_key()
        assert report.weights_sha256 == run.bundle.weights_sha256
        assert set(report.seconds) == set(STAGES)
        assert report.real_time_factor > 0
        is_rated = report.input.duration_s >= LEAST_SECONDS
        assert is_rated or report.gain is None or report.guard
        assert not is_rated or report.gain is not None
        for measures in (report.before, report.after):
            assert measures.loudness_lufs is not None or name.endswith("short.wav")
            assert -120 < measures.noise_floor_dbfs < measures.peak_dbfs < 10


def test_the_manifest_is_exported(baseline: RunResult) -> None:
    lines = (baseline.output / STATE_FOLDER / "manifest.jsonl").read_text().splitlines()
    rows = {row["relative"]: row for row in map(json.loads, lines)}
    assert set(rows) == set(TREE)
    for name, row in rows.items():
        assert row["state"] == "done"
        assert row["output_sha256"] == sha256((baseline.output / name).read_bytes()).hexdigest()


def test_silence_stays_silence(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(30_000), 16_000)
    result = run(tmp_path / "a.wav", tmp_path / "out")
    assert not samples_of(tmp_path / "out" / "a.wav").any()
    assert report_of(result, "a.wav").after.dnsmos is None


def test_very_low_rates_are_enhanced_without_loudness(run: Run, tmp_path: Path) -> None:
    store(tmp_path / "in" / "a.wav", 2.0, rate=2_000)
    report = report_of(run(tmp_path / "in", tmp_path / "out"), "a.wav")
    assert (report.before.loudness_lufs, report.after.loudness_lufs) == (None, None)


def test_the_listener_hears_all(run: Run, calls: Path, tmp_path: Path) -> None:
    planned: list[tuple[int, int]] = []
    seconds: list[float] = []
    ended: list[Outcome] = []
    listener = Listener(lambda *counts: planned.append(counts), seconds.append, ended.append)
    enhance_all([calls], tmp_path / "out", run.bundle, run.settings, Resources(), listener)
    assert planned == [(3, 3)]
    assert sum(seconds) == pytest.approx(1.5 + 2.5 + 3.5)
    assert sorted(outcome.job.source.name for outcome in ended) == ["0.wav", "1.wav", "2.wav"]


# --- a result depends on its file, the settings and the weights alone ---------------------------------------


@pytest.mark.parametrize("name", ["phone.wav", "site/b/disc.wav", "site/b/studio.flac"])
def test_alone_as_among_others(baseline: RunResult, tree: Path, run: Run, tmp_path: Path, name: str) -> None:
    run(tree / name, tmp_path / "out", batch=1)
    assert_same(tmp_path / "out" / Path(name).name, baseline.output / name)


def test_in_a_large_batch(baseline: RunResult, tree: Path, run: Run, tmp_path: Path) -> None:
    run(tree, tmp_path / "out", batch=16)
    for name in EXACT:
        assert_same(tmp_path / "out" / name, baseline.output / name)


def test_the_order_does_not_matter(
    baseline: RunResult, tree: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., Any] = engine._Run.plan
    monkeypatch.setattr(engine._Run, "plan", lambda run, jobs: list(original(run, jobs))[::-1])
    names = ["phone.wav", "site/a/short.wav", "site/b/disc.wav"]
    result = run([tree / name for name in names], tmp_path / "out")
    assert len(result.done) == 3
    for name in names:
        assert_same(tmp_path / "out" / Path(name).name, baseline.output / name)


def test_equal_content_gives_equal_results(run: Run, tmp_path: Path) -> None:
    store(tmp_path / "in" / "a.wav", 1.5)
    store(tmp_path / "in" / "z.wav", 2.5)
    shutil.copyfile(tmp_path / "in" / "a.wav", tmp_path / "in" / "copy.wav")
    run(tmp_path / "in", tmp_path / "out", batch=3)
    assert_same(tmp_path / "out" / "a.wav", tmp_path / "out" / "copy.wav")


# --- what is done is left alone -----------------------------------------------------------------------------


def test_a_second_run_skips_all(run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(calls, tmp_path / "out")
    before = {path: path.stat().st_ino for path in (tmp_path / "out").glob("*.*")}
    monkeypatch.setattr(Enhancer, "enhance", None)
    result = run(calls, tmp_path / "out")
    assert (result.skipped, result.done_count + len(result.failed), result.exit_code) == (3, 0, ExitCode.OK)
    assert {path: path.stat().st_ino for path in (tmp_path / "out").glob("*.*")} == before


def test_another_setting_redoes_all(run: Run, calls: Path, tmp_path: Path) -> None:
    first = run(calls, tmp_path / "out")
    second = run(calls, tmp_path / "out", seed=1, kind="sde")
    assert len(second.done) == 3
    assert report_of(second, "0.wav").output.sha256 != report_of(first, "0.wav").output.sha256
    assert read_sidecar(sidecar_path(tmp_path / "out" / "0.wav")).seed == 1


def test_other_weights_redo_all(run: Run, calls: Path, tmp_path: Path) -> None:
    run(calls, tmp_path / "out")
    other = Run(load_bundle(str(make_bundle(tmp_path / "b", seed=3))), run.settings)
    assert len(other(calls, tmp_path / "out").done) == 3


def test_only_what_was_tampered_with_is_redone(run: Run, calls: Path, tmp_path: Path) -> None:
    run(calls, tmp_path / "out")
    tampered, gone = tmp_path / "out" / "0.wav", tmp_path / "out" / "1.wav"
    intact = tampered.read_bytes()
    tampered.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    gone.unlink()
    result = run(calls, tmp_path / "out")
    assert {outcome.job.source.name for outcome in result.done} == {"0.wav", "1.wav"}
    assert result.skipped == 1
    assert tampered.read_bytes() == intact


def test_only_a_changed_original_is_redone(run: Run, calls: Path, tmp_path: Path) -> None:
    run(calls, tmp_path / "out")
    store(calls / "1.wav", 0.8)
    result = run(calls, tmp_path / "out")
    assert [outcome.job.source.name for outcome in result.done] == ["1.wav"]
    assert probe(tmp_path / "out" / "1.wav").frames == 12_800


# --- a bad file fails alone ---------------------------------------------------------------------------------

BAD: dict[str, Callable[[Path], object]] = {
    "empty.wav": lambda path: path.touch(),
    "text.wav": lambda path: path.write_text("minutes of the meeting\n" * 99),
    "cut.flac": lambda path: cut_off(store(path, 25.0), 0.8),
    "header.wav": lambda path: path.write_bytes(b"RIFF\x04\x00\x00\x00WAVE"),
    "folder.wav": lambda path: path.mkdir(),
    "dangling.wav": lambda path: path.symlink_to("nowhere"),
}


def test_bad_files_are_named_and_the_others_finish(run: Run, calls: Path, tmp_path: Path) -> None:
    for name, make in BAD.items():
        make(calls / name)
    out = tmp_path / "out"
    result = run(calls, out)
    assert result.exit_code is ExitCode.SOME_FAILED
    assert {outcome.job.source.name for outcome in result.done} == {"0.wav", "1.wav", "2.wav"}
    errors = errors_of(result)
    assert set(errors) == set(BAD)
    assert all(error.startswith(f"{calls / name}: ") for name, error in errors.items())
    assert not leftovers(out)
    assert not any((out / name).exists() for name in BAD)
    assert states(out) == dict.fromkeys(("0.wav", "1.wav", "2.wav"), State.DONE) | dict.fromkeys(BAD, State.FAILED)


def test_a_bad_file_is_tried_again_and_the_others_are_not(run: Run, calls: Path, tmp_path: Path) -> None:
    (calls / "bad.wav").touch()
    run(calls, tmp_path / "out")
    store(calls / "bad.wav", 1.0)
    result = run(calls, tmp_path / "out")
    assert [outcome.job.source.name for outcome in result.done] == ["bad.wav"]
    assert (result.skipped, result.exit_code) == (3, ExitCode.OK)


def test_damage_in_the_middle_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cut_off(store(tmp_path / "in" / "a.flac", 25.0), 0.8)
    written: list[int] = []
    original: Callable[..., None] = AtomicWriter.write

    def write(writer: AtomicWriter, samples: Any) -> None:
        original(writer, samples)
        written.append(samples.shape[-1])

    monkeypatch.setattr(AtomicWriter, "write", write)
    result = run(path, tmp_path / "out", batch=2)
    assert set(errors_of(result)) == {"a.flac"}
    assert written  # it had begun
    assert [path.name for path in (tmp_path / "out").iterdir()] == [STATE_FOLDER]


def refuse_to_write(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    original: Callable[..., None] = AtomicWriter.write

    def write(writer: AtomicWriter, samples: Any) -> None:
        if writer.target.name == name:
            raise error
        original(writer, samples)

    monkeypatch.setattr(AtomicWriter, "write", write)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (RecordingError(Path("x"), "cannot be written", "check free space"), "cannot be written; check free space"),
        (ValueError("unforeseen"), "internal error: ValueError: unforeseen"),
    ],
)
def test_what_cannot_be_written_fails_alone(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    refuse_to_write(monkeypatch, "1.wav", error)
    result = run(calls, tmp_path / "out")
    assert {outcome.job.source.name for outcome in result.done} == {"0.wav", "2.wav"}
    assert words in errors_of(result)["1.wav"]
    assert states(tmp_path / "out")["1.wav"] is State.FAILED
    assert not leftovers(tmp_path / "out")
    assert not (tmp_path / "out" / "1.wav").exists()


def test_what_failed_is_not_enhanced_to_its_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "a.wav", 60.0, rate=8_000)
    enhanced: list[int] = []
    original: Callable[..., Any] = Enhancer.enhance

    def count(enhancer: Enhancer, pieces: Any) -> Any:
        enhanced.append(len(pieces))
        return original(enhancer, pieces)

    monkeypatch.setattr(Enhancer, "enhance", count)
    refuse_to_write(monkeypatch, "a.wav", OSError(errno.ENOSPC, "No space left on device"))
    assert len(errors_of(run(tmp_path / "a.wav", tmp_path / "out", batch=2))) == 1
    assert enhanced == [2]  # of 67 pieces


def test_a_file_that_fails_on_both_sides_fails_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(store(tmp_path / "in" / "a.flac", 25.0), 0.8)
    refuse_to_write(monkeypatch, "a.flac", OSError(errno.EIO, "Input/output error"))
    result = run(tmp_path / "in", tmp_path / "out", batch=1)
    assert (result.done_count, len(result.failed)) == (0, 1)
    assert "Input/output error" in errors_of(result)["a.flac"]


def test_running_out_of_memory_on_one_file_fails_that_file(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., Any] = RecordingStream.pieces

    def pieces(stream: RecordingStream) -> Iterator[Any]:
        if stream.job.source.name == "1.wav":
            raise MemoryError("no room for this header's promise")
        yield from original(stream)

    monkeypatch.setattr(RecordingStream, "pieces", pieces)
    result = run(calls, tmp_path / "out")
    assert len(result.done) == 2
    assert "internal error: MemoryError" in errors_of(result)["1.wav"]


def test_a_report_that_cannot_be_made_fails_its_file(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def make(stream: RecordingStream, *rest: Any) -> QualityReport:
        if stream.job.source.name == "1.wav":
            raise ValueError("loudness is not finite")
        return build.build_report(stream, *rest)

    monkeypatch.setattr(no_harm, "build_report", make)
    result = run(calls, tmp_path / "out")
    assert len(result.done) == 2
    assert "loudness is not finite" in errors_of(result)["1.wav"]
    assert states(tmp_path / "out")["1.wav"] is State.FAILED
    assert not (tmp_path / "out" / "1.wav").exists()


def test_a_report_that_cannot_be_made_leaves_the_earlier_result(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> QualityReport:
        raise ValueError("loudness is not finite")

    out = tmp_path / "out"
    run(calls, out)
    earlier = {path.name: path.read_bytes() for path in out.glob("*.wav*")}
    monkeypatch.setattr(no_harm, "build_report", refuse)
    assert len(run(calls, out, seed=1, kind="sde").failed) == 3
    assert {path.name: path.read_bytes() for path in out.glob("*.wav*")} == earlier


def test_audio_whose_report_cannot_be_written_is_taken_away_again(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OutputError(path, "cannot be written (No space left on device)", "check free space", disk=True)

    out = tmp_path / "out"
    run(calls, out)
    monkeypatch.setattr(engine, "publish_text", refuse)
    result = run(calls / "1.wav", out, seed=1, kind="sde")
    assert "No space left on device" in errors_of(result)["1.wav"]
    assert sorted(path.name for path in out.glob("*.wav*")) == [
        f"{number}.wav{suffix}" for number in (0, 2) for suffix in ("", ".quality.json")
    ]


def test_a_disk_that_stays_full_ends_the_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        store(tmp_path / "in" / f"{number:02}.wav", 0.5)

    def refuse(writer: AtomicWriter, samples: Any) -> None:
        raise OutputError(writer.target, "cannot be written (No space left on device)", "check free space", disk=True)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicWriter, "write", refuse)
        result = run(tmp_path / "in", tmp_path / "out", batch=1)
    assert (result.refused, result.gave_up, result.exit_code) == (True, True, ExitCode.SOME_FAILED)
    assert engine.REFUSALS <= len(result.failed) <= engine.REFUSALS + 4  # those in hand fail too
    assert result.left == 12 - len(result.failed)
    assert run(tmp_path / "in", tmp_path / "out").exit_code is ExitCode.OK


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run by a sampler that is not to be trusted."""
    bundle = load_bundle(str(make_bundle(tmp_path_factory.mktemp("loud"), loud=True)))
    return Run(bundle, short_settings(bundle))


def test_a_recording_may_fail_by_the_guard_and_others_go_on(loud: Run, tmp_path: Path) -> None:
    """Silence gives the sampler nothing to make up."""
    store(tmp_path / "in" / "silent.wav", 0.5, gain=0.0)
    store(tmp_path / "in" / "talk.wav", 1.5)
    result = loud(tmp_path / "in", tmp_path / "out", steps=1, on_risk=OnRisk.FAIL)
    assert [outcome.job.relative.name for outcome in result.done] == ["silent.wav"]
    assert [outcome.gated for outcome in result.failed] == [True]
    assert result.exit_code is ExitCode.QUALITY_GATE
    assert not (tmp_path / "out" / "talk.wav").exists()
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF")
    assert loud(tmp_path / "in", tmp_path / "out", steps=1, on_risk=OnRisk.FAIL).exit_code is ExitCode.SOME_FAILED


def test_the_report_says_where_the_sampler_was_not_trusted(loud: Run, tmp_path: Path) -> None:
    source = store(tmp_path / "in" / "a.wav", 3.0)
    (outcome,) = loud(source, tmp_path / "out", steps=1, on_risk=OnRisk.FALLBACK).done
    report = read_sidecar(sidecar_path(tmp_path / "out" / "a.wav"))
    assert outcome.report == report
    assert report.guard
    assert all(0 <= mark.start_s < mark.end_s <= 3.0 and mark.channels == (0,) for mark in report.guard)
    assert report.settings["on_risk"] == "fallback"
    assert any("the sampler not trusted for" in change for change in report.changes)


def test_a_disk_that_takes_every_other_result_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        store(tmp_path / "in" / f"{number}.wav", 0.5)
    original: Callable[..., None] = AtomicWriter.complete

    def complete(writer: AtomicWriter) -> None:
        if int(writer.target.stem) % 2:
            raise OutputError(writer.target, "cannot be written (Input/output error)", "check it", disk=True)
        original(writer)

    monkeypatch.setattr(AtomicWriter, "complete", complete)
    result = run(tmp_path / "in", tmp_path / "out", batch=1)
    assert (len(result.done), len(result.failed), result.refused, result.left) == (4, 4, False, 0)


def test_what_another_run_is_about_to_publish_is_no_leftover(tmp_path: Path) -> None:
    """It has the time of its recording already, which may be years ago."""
    source = store(tmp_path / "a.wav", 0.5)
    os.utime(source, (10**9, 10**9))
    recording = probe(source)
    with AtomicWriter(tmp_path / "out" / "a.wav", recording) as writer:
        writer.write(samples_of(source))
        writer.complete()
        engine.remove_leftovers(tmp_path / "out", 60.0)
    assert probe(tmp_path / "out" / "a.wav").modified_ns == 10**18


def test_leftovers_that_cannot_be_removed_are_named_and_the_run_goes_on(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "out" / TEMPORARY_GLOB.replace("*", "0")
    left.parent.mkdir()
    left.touch()
    original: Callable[..., None] = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == left:
            raise OSError(errno.EIO, "Input/output error", str(path))
        original(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    result = run(calls, tmp_path / "out")
    (problem,) = result.problems
    assert problem.startswith(f"{left}: what a killed run left cannot be removed (Input/output error)")
    assert (len(result.done), result.exit_code) == (3, ExitCode.SOME_FAILED)


def test_two_results_of_one_name_never_overwrite_each_other(run: Run, tmp_path: Path) -> None:
    store(tmp_path / "in" / "a.wav.wav", 1.0)
    raw = store(tmp_path / "in" / "raw", 1.5, rate=8_000, subtype="GSM610", container="RAW")
    raw.rename(tmp_path / "in" / "a.gsm")
    store(tmp_path / "in" / "a.gsm.flac", 1.0)
    first = run(tmp_path / "in", tmp_path / "out")
    content = (tmp_path / "out" / "a.gsm.flac").read_bytes()
    second = run(tmp_path / "in", tmp_path / "out")
    for result in (first, second):
        assert "named like that of a.gsm.flac" in errors_of(result)["a.gsm"]
    assert second.skipped == 2
    assert (tmp_path / "out" / "a.gsm.flac").read_bytes() == content


def test_a_file_that_is_not_ours_is_never_replaced(run: Run, calls: Path, tmp_path: Path) -> None:
    """Such as another archive's originals below -o."""
    out = tmp_path / "out"
    foreign = store(out / "1.wav", 1.0)
    before = foreign.read_bytes()
    for _ in range(2):
        result = run(calls, out)
        assert errors_of(result).keys() == {"1.wav"}
        assert f"would replace {foreign}, which exdiff did not make" in errors_of(result)["1.wav"]
        assert foreign.read_bytes() == before
        assert not sidecar_path(foreign).exists()
    foreign.unlink()
    assert (len(run(calls, out).done), run(calls, out).skipped) == (1, 3)


def test_what_is_put_in_the_place_of_a_failed_result_is_not_ours(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(RecordingStream, "complete", lambda self: 1 / 0)
        assert len(run(calls, out).failed) == 3
    repaired = store(out / "1.wav", 1.0).read_bytes()
    assert errors_of(run(calls, out)).keys() == {"1.wav"}
    assert (out / "1.wav").read_bytes() == repaired


def test_a_result_that_a_kill_left_without_its_report_is_replaced(run: Run, calls: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(calls, out)
    with Manifest.open(out) as manifest:
        row = manifest.get(Path("1.wav"))
        assert row is not None
        keys = {"settings_key": str(row.settings_key), "weights_sha256": str(row.weights_sha256)}
        manifest.start(row.relative, row.source, fingerprint(row.source), **keys, output=Path("1.wav"))
    sidecar_path(out / "1.wav").unlink()
    assert [outcome.job.source.name for outcome in run(calls, out).done] == ["1.wav"]
    assert sidecar_path(out / "1.wav").exists()


def test_a_folder_that_cannot_be_read_is_a_failure(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (calls / "closed").mkdir()
    original: Callable[..., Any] = os.scandir

    def scan(folder: Any) -> Any:
        if Path(folder).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(folder)

    monkeypatch.setattr(os, "scandir", scan)
    result = run(calls, tmp_path / "out")
    assert len(result.done) == 3
    assert len(result.problems) == 1
    assert result.exit_code is ExitCode.SOME_FAILED


# --- what stops a whole run ---------------------------------------------------------------------------------


def test_nothing_to_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(NoInputError):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_held_folder_is_refused(run: Run, calls: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(LockedError):
        run(calls, tmp_path / "out")
    assert len(run(calls, tmp_path / "out").done) == 3


@pytest.mark.parametrize("method", ["start", "fail", "finish"])
def test_a_manifest_that_cannot_be_written_stops_the_run(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise ExdiffError("manifest.sqlite: cannot be written (disk full); check the disk")

    (calls / "0.wav").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, method, refuse)
        with pytest.raises(ExdiffError, match="disk full"):
            run(calls, tmp_path / "out")
    assert not leftovers(tmp_path / "out")
    assert {thread.name for thread in threading.enumerate()}.isdisjoint({"decode", "publish_0"})
    assert len(run(calls, tmp_path / "out").failed) == 1


def test_a_missing_part_is_told_at_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        store(tmp_path / "in" / f"{number}.wav", 0.5)
    told = threading.Event()

    def make(*given: Any) -> QualityReport:
        told.set()
        raise UsageError("DNSMOS model is missing: reinstall the package speechmos")

    def enhance(enhancer: Enhancer, pieces: Any) -> Any:
        batches.append(len(pieces))
        if len(batches) >= 2:
            told.wait(10)
            time.sleep(0.05)
        return [Enhanced(piece.samples) for piece in pieces]

    batches: list[int] = []
    monkeypatch.setattr(no_harm, "build_report", make)
    monkeypatch.setattr(Enhancer, "enhance", enhance)
    with pytest.raises(UsageError, match="speechmos"):
        run(tmp_path / "in", tmp_path / "out", batch=1)
    assert len(batches) < 8


# --- stopped in the middle ----------------------------------------------------------------------------------


def test_what_waits_to_be_published_at_an_interrupt_is_not_taken_for_done(
    run: Run, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(calls, out)
    publishing, go_on = threading.Event(), threading.Event()
    enhance_original: Callable[..., Any] = Enhancer.enhance

    def make(*given: Any) -> QualityReport:
        publishing.set()
        assert go_on.wait(10)
        return build.build_report(*given)

    def enhance(enhancer: Enhancer, pieces: Any) -> Any:
        if len(pieces) < 8:  # the last batch: 0.wav and 1.wav are complete, 1.wav waits
            assert publishing.wait(10)
            threading.Timer(0.2, go_on.set).start()
            raise KeyboardInterrupt
        return enhance_original(enhancer, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(no_harm, "build_report", make)
        patch.setattr(Enhancer, "enhance", enhance)
        with pytest.raises(KeyboardInterrupt):
            run(calls, out, batch=8, seed=1, kind="sde")
    assert not leftovers(out)
    assert states(out) == {"0.wav": State.DONE, "1.wav": State.RUNNING, "2.wav": State.RUNNING}
    resumed = run(calls, out, seed=1, kind="sde")
    assert {outcome.job.source.name for outcome in resumed.done} == {"1.wav", "2.wav"}
    whole = run(calls, tmp_path / "whole", seed=1, kind="sde")
    assert len(whole.done) == 3
    for name in ("0.wav", "1.wav", "2.wav"):
        assert_same(out / name, tmp_path / "whole" / name)


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bundles import short_settings
from exdiff_cli.bundle import load_bundle
from exdiff_cli.engine import enhance_all
from exdiff_cli.enhancer import Enhanced, Enhancer
from exdiff_cli.manifest import Manifest, State, fingerprint
from exdiff_cli.measures.dnsmos import Dnsmos
from exdiff_cli.settings import Resources

source, out = map(Path, sys.argv[3:])
enhance, batches = Enhancer.enhance, []

def kill_in_the_second_recording(self, pieces):
    batches.append(pieces)
    if len(batches) == 5:
        with Manifest.open(out, read_only=True) as manifest:
            while not manifest.counts()[State.DONE]:
                time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return enhance(self, pieces)

Enhancer.enhance = kill_in_the_second_recording
Dnsmos.score = lambda self, windows: []
bundle = load_bundle(sys.argv[2])
enhance_all([source], out, bundle, short_settings(bundle), Resources(batch=1))
"""


def test_a_killed_run_goes_on_and_gives_the_same(
    baseline: RunResult, tree: Path, run: Run, bundle_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = [Path(__file__).parent, bundle_folder, tree, out]
    killed = subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert leftovers(out)
    assert set(states(out).values()) >= {State.DONE, State.RUNNING}
    resumed = run(tree, out)
    assert resumed.skipped == 1
    assert (len(resumed.done), resumed.exit_code) == (len(TREE) - 1, ExitCode.OK)
    assert not leftovers(out)
    for name in EXACT:
        assert_same(out / name, baseline.output / name)


# --- prefetch -----------------------------------------------------------------------------------------------


def test_shards_share_an_output_folder(run: Run, calls: Path, tmp_path: Path) -> None:
    """Together they do all, each once, and what another is still writing is left alone."""
    out = tmp_path / "out"
    found = discover([calls], out, AUDIO_SUFFIXES)
    out.mkdir()
    written = out / ".exdiff-0.part"
    written.touch()
    done = []
    for number in (1, 2):
        shard = Shard(number, 2)
        jobs = Discovery(Selection(shard=shard).of(found.jobs))
        result = enhance_found(jobs, out, run.bundle, run.settings, Resources(), options=RunOptions(part=shard.name))
        done += [outcome.job.relative.name for outcome in result.done]
        assert (out / ".exdiff" / shard.name / "manifest.jsonl").exists()
    assert sorted(done) == ["0.wav", "1.wav", "2.wav"]
    assert written.exists()


def test_another_number_of_shards_is_refused(run: Run, calls: Path, tmp_path: Path) -> None:
    """Status and verify would count a recording twice, and two runs could work on it at once."""
    out = tmp_path / "out"

    def run_shard(number: int, count: int) -> RunResult:
        shard = Shard(number, count)
        jobs = Discovery(Selection(shard=shard).of(discover([calls], out, AUDIO_SUFFIXES).jobs))
        return enhance_found(jobs, out, run.bundle, run.settings, Resources(), options=RunOptions(part=shard.name))

    done = sum(run_shard(number, 2).done_count for number in (1, 2))
    with pytest.raises(UsageError, match="another number of shards"):
        run_shard(1, 3)
    with pytest.raises(UsageError, match="was worked on in shards; give --shard with that, or remove"):
        run(calls, out)
    for folder in (out / ".exdiff").glob("shard-*"):
        shutil.rmtree(folder)
    results = [run_shard(number, 3) for number in (1, 2, 3)]
    assert (done, sum(result.skipped for result in results)) == (3, 3)
    for folder in (out / ".exdiff").glob("shard-*"):
        shutil.rmtree(folder)
    assert run(calls, out).skipped == 3
    with pytest.raises(UsageError, match="was worked on without --shard; leave out --shard, or remove"):
        run_shard(1, 2)


def test_what_nobody_has_written_to_for_an_hour_is_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = tmp_path / ".exdiff-1.part"
    leftover.touch()
    for minutes, is_there in ((59, True), (61, False)):
        now = leftover.stat().st_ctime + 60 * minutes
        monkeypatch.setattr(time, "time", lambda now=now: now)
        engine.remove_leftovers(tmp_path, engine.OTHERS_SECONDS)
        assert leftover.exists() == is_there


# --- ending before all is done ------------------------------------------------------------------------------


def test_after_a_signal_what_is_in_hand_is_finished_and_the_rest_left(run: Run, calls: Path, tmp_path: Path) -> None:
    for number in range(3, 8):
        store(calls / f"{number}.wav", 1.5)
    stop, out = Stop(), tmp_path / "out"
    result = run(
        calls,
        out,
        batch=1,
        listener=Listener(ended=lambda outcome: stop.ask(signal.SIGTERM)),
        options=RunOptions(stop=stop),
    )
    assert len(result.done) >= 1
    assert result.left >= 1
    assert (len(result.done) + result.left, result.failed) == (8, [])
    assert (result.exit_code, result.stopped_by) == (128 + signal.SIGTERM, signal.SIGTERM)
    assert not leftovers(out)
    counted = list(states(out).values())
    assert counted.count(State.DONE) == len(result.done)
    assert counted.count(State.PENDING) == result.left
    resumed = run(calls, out)
    assert (len(resumed.done), resumed.skipped, resumed.exit_code) == (result.left, len(result.done), 0)
    whole = run(calls, tmp_path / "whole")
    for outcome in whole.done:
        assert_same(out / outcome.job.relative, tmp_path / "whole" / outcome.job.relative)


def test_a_signal_after_the_last_recording_changes_nothing(run: Run, calls: Path, tmp_path: Path) -> None:
    stop, ended = Stop(), []

    def hear(outcome: Outcome) -> None:
        ended.append(outcome)
        if len(ended) == 3:
            stop.ask(signal.SIGINT)

    result = run(calls, tmp_path / "out", listener=Listener(ended=hear), options=RunOptions(stop=stop))
    assert (result.left, result.exit_code) == (0, ExitCode.OK)


@pytest.mark.parametrize(
    ("factor", "done"),
    [(0.1, ["b.wav", "c.wav", "a.wav"]), (1.0, ["b.wav", "c.wav"]), (3.0, ["b.wav"])],
)
def test_what_fits_before_the_deadline_is_done(run: Run, tmp_path: Path, factor: float, done: list[str]) -> None:
    """By a cautious guess first, then by the speed that was measured; what is misjudged is dropped at the deadline."""
    for name, seconds in (("a.wav", 9.0), ("b.wav", 1.0), ("c.wav", 5.0)):
        store(tmp_path / "in" / name, seconds)
    now = [100.0]

    def later(seconds: float) -> None:
        now[0] += factor * seconds

    options = RunOptions(Stop(deadline=107.0, clock=lambda: now[0]))
    result = run(tmp_path / "in", tmp_path / "out", batch=1, listener=Listener(advanced=later), options=options)
    assert [outcome.job.source.name for outcome in result.done] == done
    assert (result.left, result.stopped_by) == (3 - len(done), None)
    assert result.exit_code is (ExitCode.DEADLINE if result.left else ExitCode.OK)
    if result.left:
        assert states(tmp_path / "out")["a.wav"] is State.PENDING


def test_where_no_speed_is_known_one_is_tried(run: Run, tmp_path: Path) -> None:
    """The guess would have it left night after night."""
    store(tmp_path / "in" / "long.wav", 9.0)
    options = RunOptions(Stop(deadline=102.0, clock=lambda: 100.0))
    result = run(tmp_path / "in", tmp_path / "out", batch=16, options=options)
    assert (len(result.done), result.left, result.exit_code) == (1, 0, ExitCode.OK)


def test_planning_ends_when_the_run_is_to_end(run: Run, calls: Path, tmp_path: Path) -> None:
    """Telling what is done may take hours where everything has to be hashed."""
    out, stop = tmp_path / "out", Stop()
    run(calls, out)
    before = (out / ".exdiff" / "manifest.jsonl").read_bytes()
    stop.ask(signal.SIGTERM)
    result = run(calls, out, options=RunOptions(stop))
    assert (result.skipped, result.done_count, result.left) == (0, 0, 3)
    assert result.exit_code == 128 + signal.SIGTERM
    assert (out / ".exdiff" / "manifest.jsonl").read_bytes() == before
    assert run(calls, out).skipped == 3


def test_when_time_is_up_what_is_in_hand_is_dropped_whole(run: Run, calls: Path, tmp_path: Path) -> None:
    now = [100.0]

    def later(seconds: float) -> None:
        now[0] = 200.0

    out = tmp_path / "out"
    stop = Stop(deadline=150.0, clock=lambda: now[0])
    result = run(calls, out, batch=1, listener=Listener(advanced=later), options=RunOptions(stop=stop))
    assert (result.done, result.left, result.exit_code) == ([], 3, ExitCode.DEADLINE)
    assert set(states(out).values()) == {State.PENDING}
    assert not leftovers(out)
    assert not list(out.rglob("*.wav"))
    assert len(run(calls, out).done) == 3


def test_too_many_failures_end_the_run(run: Run, tmp_path: Path) -> None:
    for number in range(20):
        path = store(tmp_path / "in" / f"{number:02}.wav", 0.2)
        if number in (0, 2, 19):
            path.write_text("no sound")
    result = run(tmp_path / "in", tmp_path / "out", batch=1, options=RunOptions(max_failures=2))
    assert len(result.failed) == 2
    assert result.left >= 1
    assert (result.gave_up, result.exit_code) == (True, ExitCode.SOME_FAILED)
    enough = run(tmp_path / "in", tmp_path / "out", options=RunOptions(max_failures=9))
    assert (len(enough.failed), enough.left, enough.gave_up) == (3, 0, False)


def test_only_what_failed_is_tried_again_where_asked(run: Run, calls: Path, tmp_path: Path) -> None:
    whole, out = (calls / "1.wav").read_bytes(), tmp_path / "out"
    (calls / "1.wav").write_text("no sound")
    run(calls, out)
    (calls / "1.wav").write_bytes(whole)
    store(calls / "new.wav", 1.0)
    result = run(calls, out, options=RunOptions(only_failed=True))
    assert [outcome.job.source.name for outcome in result.done] == ["1.wav"]
    assert (result.done_count, len(result.failed), result.left, result.exit_code) == (1, 0, 0, ExitCode.OK)
    assert "new.wav" not in states(out)


def test_what_failed_and_is_not_tried_again_in_time_is_still_known_as_failed(
    run: Run, calls: Path, tmp_path: Path
) -> None:
    out, sound = tmp_path / "out", {path: path.read_bytes() for path in calls.iterdir()}
    for path in sound:
        path.write_text("no sound")
    assert len(run(calls, out).failed) == 3
    for path, content in sound.items():
        path.write_bytes(content)
    stop = Stop(grace=0.0)
    ended = Listener(began=lambda job, recording: stop.ask(signal.SIGTERM))
    stopped = run(calls, out, batch=1, listener=ended, options=RunOptions(stop, only_failed=True))
    assert (stopped.done_count, stopped.left) == (0, 3)
    assert set(states(out).values()) == {State.FAILED}
    again = run(calls, out, options=RunOptions(only_failed=True))
    assert (again.done_count, again.left, again.exit_code) == (3, 0, ExitCode.OK)


def test_another_recording_of_the_same_name_does_not_replace_a_result(run: Run, tmp_path: Path) -> None:
    """Folders of days that all begin with 001.wav, into one output folder."""
    first = store(tmp_path / "monday" / "001.wav", 1.0)
    second = store(tmp_path / "tuesday" / "001.wav", 1.5)
    out = tmp_path / "out"
    run(first.parent, out)
    kept = (out / "001.wav").read_bytes()
    result = run(second.parent, out)
    assert result.exit_code is ExitCode.SOME_FAILED
    assert f"would replace that of {first}" in errors_of(result)["001.wav"]
    assert (out / "001.wav").read_bytes() == kept
    assert run(first.parent, out).skipped == 1
    first.unlink()
    assert run(second.parent, out).done_count == 1


def test_a_recording_that_was_moved_is_not_done_again(run: Run, tmp_path: Path) -> None:
    first = store(tmp_path / "monday" / "001.wav", 1.0)
    run(first.parent, tmp_path / "out")
    shutil.copytree(first.parent, tmp_path / "backup")
    assert run(tmp_path / "backup", tmp_path / "out").skipped == 1


@pytest.mark.parametrize("shards", [False, True])
def test_a_result_in_another_format_is_not_replaced_by_a_recording_of_its_name(
    run: Run, tmp_path: Path, shards: bool
) -> None:
    store(tmp_path / "in" / "a.wav", 1.0, rate=8_000, subtype="GSM610")
    out = tmp_path / "out"

    def run_part(number: int) -> RunResult:
        found = discover([tmp_path / "in"], out, AUDIO_SUFFIXES)
        part = f"shard-{number}-of-2" if shards else ""
        return enhance_found(found, out, run.bundle, run.settings, Resources(), options=RunOptions(part=part))

    assert run_part(1).done_count == 1
    kept = (out / "a.wav.flac").read_bytes()
    store(tmp_path / "in" / "a.wav.flac", 1.5)
    result = run_part(2)
    assert "would replace that of" in errors_of(result)["a.wav.flac"]
    assert (out / "a.wav.flac").read_bytes() == kept


def test_what_cannot_be_opened_does_not_count_as_left(run: Run, calls: Path, tmp_path: Path) -> None:
    (calls / "0.wav").write_text("no sound")
    result = run(calls, tmp_path / "out", options=RunOptions(Stop(deadline=1e9, clock=lambda: 0.0)))
    assert (len(result.done), len(result.failed), result.left) == (2, 1, 0)
    assert result.exit_code is ExitCode.SOME_FAILED


def test_what_ffmpeg_reads_comes_out_as_itself_or_as_flac(run: Run, tmp_path: Path) -> None:
    encode(tmp_path / "in" / "call.m4a", "ipod", "aac", 16_000, "stereo", talk(1.0, 16_000, 2))
    encode(tmp_path / "in" / "call.amr", "amr", "libopencore_amrnb", 8_000, "mono", talk(1.0, 8_000))
    result = run(tmp_path / "in", tmp_path / "out")
    assert (len(result.done), result.converted, result.exit_code) == (2, 1, ExitCode.OK)
    for source, name in (("call.m4a", "call.m4a"), ("call.amr", "call.amr.flac")):
        before, after = probe(tmp_path / "in" / source), probe(tmp_path / "out" / name)
        assert (after.sample_rate, after.channels) == (before.sample_rate, before.channels)
        assert after.frames == before.frames
