"""A dry run: what it adds up, what it leaves out, and that it writes nothing."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import make_bundle, short_settings
from recordings import store
from typer.testing import CliRunner

from exdiff_cli import dry_run
from exdiff_cli.audio.io import AUDIO_SUFFIXES, probe
from exdiff_cli.bench import Run
from exdiff_cli.bundle import load_bundle
from exdiff_cli.cli import app
from exdiff_cli.diffuse.generate import SamplerConfig
from exdiff_cli.discover import discover
from exdiff_cli.dry_run import (
    Load,
    estimate,
    estimate_table,
    expected_bytes,
    expected_ratings,
    expected_seconds,
    looked_up,
    measure_load,
)
from exdiff_cli.engine import RunOptions, RunResult, enhance_all
from exdiff_cli.errors import UsageError
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import Manifest
from exdiff_cli.settings import Ratings, Resources, Settings
from exdiff_cli.storage import Storage


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    store(tmp_path / "calls" / "a.wav", 2.0, rate=8000)
    store(tmp_path / "calls" / "b.wav", 1.0, channels=2)
    (tmp_path / "calls" / "c.wav").write_text("no sound")
    return tmp_path / "calls"


def test_adds_up_what_is_not_done(calls: Path) -> None:
    jobs = [Job(path, Path(path.name)) for path in sorted(calls.iterdir())]
    settings = Settings(SamplerConfig())
    load = measure_load(jobs, lambda job: True, settings)
    sizes = sum((calls / name).stat().st_size for name in ("a.wav", "b.wav"))
    assert load == Load(2, 0, 1, audio_seconds=3.0, channel_seconds=4.0, rated_windows=1, bytes=sizes)
    rest = measure_load(jobs, lambda job: job.relative.name != "a.wav", settings)
    assert (rest.recordings, rest.done_before, rest.audio_seconds) == (1, 1, 1.0)


@pytest.mark.parametrize(
    ("seconds", "ratings", "expected"),
    [(1.9, Ratings.ALL, 0.0), (15.0, Ratings.ALL, 1.0), (15.0, Ratings.SAMPLED, 0.1), (600.0, Ratings.SAMPLED, 4.0)],
)
def test_expects_as_many_ratings_as_a_run_makes(
    tmp_path: Path, seconds: float, ratings: Ratings, expected: float
) -> None:
    settings = replace(Settings(SamplerConfig()), ratings=ratings)
    recording = replace(probe(store(tmp_path / "a.wav", 1.0, rate=8000)), frames=round(8000 * seconds))
    assert expected_ratings(recording, settings) == pytest.approx(expected)


STORED = [
    ({}, {"subtype": "PCM_24"}),
    ({}, {"rate": 8_000, "subtype": "GSM610"}),
    ({"storage": Storage("wav", "FLOAT")}, {"container": "MP3", "subtype": "MPEG_LAYER_III"}),
    ({"storage": Storage("mp3", bit_rate=64_000)}, {}),
    ({"extend_band": True}, {"rate": 8_000}),
]


@pytest.mark.parametrize(("changes", "kind"), STORED)
def test_disk_is_that_of_results_not_of_originals(
    tmp_path: Path, changes: dict[str, Any], kind: dict[str, Any]
) -> None:
    bundle = load_bundle(str(make_bundle(tmp_path / "bundle")))
    settings = replace(short_settings(bundle, steps=0), **changes)
    source = store(tmp_path / "in" / "a.wav", 8.0, **kind)
    expected, waiting = expected_bytes(probe(source), settings)
    result = enhance_all([source], tmp_path / "out", bundle, settings, Resources())
    (outcome,) = result.done
    assert outcome.report is not None
    assert outcome.report.output.bytes / 1.3 - 2_000 < expected < 2.5 * outcome.report.output.bytes
    assert waiting == 0
    assert expected_bytes(probe(source), replace(settings, loudness=-23.0))[1] >= 4 * 8 * probe(source).sample_rate


def test_counts_only_what_failed_where_that_is_asked_for(calls: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(make_bundle(tmp_path / "bundle")))
    settings, out = short_settings(bundle, steps=0), tmp_path / "out"
    enhance_all([calls], out, bundle, settings, Resources())
    store(calls / "c.wav", 1.0)
    store(calls / "new.wav", 1.0)
    jobs = discover([calls], out, AUDIO_SUFFIXES).jobs
    for only_failed, wanted in ((False, 2), (True, 1)):
        with looked_up(out, RunOptions(only_failed=only_failed), settings, bundle) as is_wanted:
            assert measure_load(jobs, is_wanted, settings).recordings == wanted


def test_a_newer_manifest_is_refused_as_by_the_run(calls: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(make_bundle(tmp_path / "bundle")))
    Manifest.open(tmp_path).close()
    with sqlite3.connect(tmp_path / ".exdiff" / "manifest.sqlite") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    looked = looked_up(tmp_path, RunOptions(), Settings(bundle.sampler), bundle)
    with pytest.raises(UsageError, match="newer exdiff"), looked:
        pass


def test_expects_the_measured_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(str(make_bundle(tmp_path / "bundle")))
    result = RunResult(tmp_path, done_count=2, done_seconds=60.0)
    run = Run(result, wall=3.0, cpu=5.0, stages={"extract": 1.0, "diffuse": 2.0}, frames={}, load_before=0.0)
    measured: list[Any] = []

    def measure(*given: Any) -> Run:
        measured.append(given)
        return run

    monkeypatch.setattr(dry_run, "measure_made", measure)
    monkeypatch.setattr(dry_run, "seconds_a_window", lambda: 0.5)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    load = Load(10, channel_seconds=7200.0, audio_seconds=3600.0, rated_windows=40, bytes=10**6)
    settings, resources = Settings(bundle.sampler, ratings=Ratings.SAMPLED), Resources(workers=2, publishers=2)
    found = estimate(load, tmp_path / "not" / "there", bundle, settings, resources, 2.0)
    archive, _, calibrated, _ = measured[0]
    assert (archive.files, calibrated.ratings) == (2, Ratings.ALL)  # of each of which one window is rated
    # The cores have 4 s of work for a minute, and half a second for each window; the models would be done before.
    assert (found.expected_seconds, found.cost) == ((120 * 4 + 40 * 0.5) / 2, 0.14)
    assert expected_seconds(load, run, 0.5, Resources(workers=1, publishers=2)) == 120 * 3
    assert expected_seconds(replace(load, rated_windows=4000), run, 0.5, Resources(workers=2)) == 4000 * 0.5
    assert found.real_time_factor == 0.0347
    assert found.disk_bytes > 10**6
    assert found.disk_free_bytes > 0
    assert estimate_table(found).row_count == 7
    nothing = estimate(Load(done_before=3), tmp_path, bundle, Settings(bundle.sampler), Resources(), None)
    assert (nothing.expected_seconds, nothing.cost) == (0.0, None)


def test_writes_nothing_and_knows_what_is_done(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "CALIBRATION_SECONDS", 1.0)
    given = ["enhance", str(calls), "-o", str(tmp_path / "out"), "--bundle", str(make_bundle(tmp_path / "bundle"))]

    def looked() -> dict[str, object]:
        result = CliRunner().invoke(app, [*given, "--dry-run", "--json", "--price-per-hour", "3"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    first = looked()
    assert not (tmp_path / "out").exists()
    assert (first["recordings"], first["unreadable"], first["done_before"]) == (2, 1, 0)
    CliRunner().invoke(app, given)
    second = looked()
    assert (second["recordings"], second["unreadable"], second["done_before"]) == (0, 1, 2)
