"""A dry run: what it adds up, what it leaves out, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import make_bundle
from recordings import store
from typer.testing import CliRunner

from exdiff_cli import dry_run
from exdiff_cli.bundle import load_bundle
from exdiff_cli.cli import app
from exdiff_cli.dry_run import Load, estimate, estimate_table, measure_load
from exdiff_cli.jobs import Job
from exdiff_cli.settings import Resources, Settings


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    store(tmp_path / "calls" / "a.wav", 2.0, rate=8000)
    store(tmp_path / "calls" / "b.wav", 1.0, channels=2)
    (tmp_path / "calls" / "c.wav").write_text("no sound")
    return tmp_path / "calls"


def test_adds_up_what_is_not_done(calls: Path) -> None:
    jobs = [Job(path, Path(path.name)) for path in sorted(calls.iterdir())]
    load = measure_load(jobs, lambda job: False)
    sizes = sum((calls / name).stat().st_size for name in ("a.wav", "b.wav"))
    assert load == Load(2, 0, 1, audio_seconds=3.0, channel_seconds=4.0, bytes=sizes)
    rest = measure_load(jobs, lambda job: job.relative.name == "a.wav")
    assert (rest.recordings, rest.done_before, rest.audio_seconds) == (1, 1, 1.0)


def test_expects_the_measured_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(str(make_bundle(tmp_path / "bundle")))
    monkeypatch.setattr(dry_run, "run_bench", lambda *_: {"real_time_factor": 0.25})
    load = Load(10, channel_seconds=7200.0, audio_seconds=3600.0, bytes=10**6)
    found = estimate(load, tmp_path / "not" / "there", bundle, Settings(bundle.sampler), Resources(), 2.0)
    assert (found.expected_seconds, found.cost) == (1800.0, 1.0)
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
