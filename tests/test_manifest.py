"""The manifest: what counts as done, what survives a kill, and what happens to a file that is not sound."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from exdiff_cli import manifest as module
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.errors import ExdiffError, RecordingError, UsageError
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import SCHEMA_VERSION, Fingerprint, MadeWith, Manifest, State, fingerprint

KEY, WEIGHTS = "settings-1", "weights-1"
NOBODY = 65534
RELATIVE = Path("sub/a.wav")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / RELATIVE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"noisy")
    return path


@pytest.fixture
def manifest(out: Path) -> Iterator[Manifest]:
    with Manifest.open(out) as opened:
        yield opened


def database_of(out: Path) -> Path:
    return out / STATE_FOLDER / "manifest.sqlite"


def start(manifest: Manifest, source: Path, relative: Path = RELATIVE) -> None:
    manifest.start(relative, source, fingerprint(source), settings_key=KEY, weights_sha256=WEIGHTS)


def finish(manifest: Manifest, out: Path, relative: Path = RELATIVE) -> Path:
    output = out / relative
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(b"clean")
    manifest.finish(
        relative,
        output=relative,
        output_size=5,
        output_sha256=hashlib.sha256(b"clean").hexdigest(),
        timings={"extract": 0.5},
    )
    return output


def is_done(manifest: Manifest, source: Path, out: Path, *, verify_hashes: bool = True) -> bool:
    return manifest.is_done(RELATIVE, source, KEY, WEIGHTS, out, verify_hashes=verify_hashes)


def forbid_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was hashed")

    monkeypatch.setattr(module, "file_sha256", refuse)


def message_of(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# One recording's way


def test_states_from_plan_to_done(manifest: Manifest, source: Path, out: Path) -> None:
    assert manifest.get(RELATIVE) is None
    manifest.plan([Job(source, RELATIVE)])
    row = manifest.get(RELATIVE)
    assert row is not None
    assert (row.state, row.attempts, row.sha256) == (State.PENDING, 0, None)
    start(manifest, source)
    row = manifest.get(RELATIVE)
    assert row is not None
    assert (row.state, row.attempts, row.settings_key, row.weights_sha256) == (State.RUNNING, 1, KEY, WEIGHTS)
    assert not is_done(manifest, source, out)
    finish(manifest, out)
    row = manifest.get(RELATIVE)
    assert row is not None
    assert (row.state, row.output, row.output_size, row.timings) == (
        State.DONE,
        RELATIVE,
        5,
        {"extract": 0.5},
    )
    assert (row.size, row.sha256) == (5, hashlib.sha256(b"noisy").hexdigest())
    assert is_done(manifest, source, out)


def test_attempts_count_once_a_try_and_success_clears_the_error(manifest: Manifest, source: Path, out: Path) -> None:
    manifest.fail(RELATIVE, source, "no header")
    start(manifest, source)
    manifest.fail(RELATIVE, source, "cut off")
    row = manifest.get(RELATIVE)
    assert row is not None
    assert (row.state, row.attempts, row.error) == (State.FAILED, 2, "cut off")
    start(manifest, source)
    finish(manifest, out)
    row = manifest.get(RELATIVE)
    assert row is not None
    assert (row.state, row.attempts, row.error) == (State.DONE, 3, None)


def test_skipped_is_neither_an_attempt_nor_done(manifest: Manifest, source: Path, out: Path) -> None:
    manifest.skip(RELATIVE, source, "no speech")
    row = manifest.get(RELATIVE)
    assert row is not None
    assert (row.state, row.attempts, row.error) == (State.SKIPPED, 0, "no speech")
    assert not is_done(manifest, source, out)


def test_finish_needs_a_start(manifest: Manifest, source: Path, out: Path) -> None:
    manifest.plan([Job(source, RELATIVE)])
    with pytest.raises(ValueError, match="without having been started"):
        finish(manifest, out)


def test_planning_again_reopens_a_row(manifest: Manifest, source: Path, out: Path) -> None:
    start(manifest, source)
    finish(manifest, out)
    manifest.plan([Job(source, RELATIVE)])
    assert not is_done(manifest, source, out)


def test_plan_is_all_or_none(manifest: Manifest, source: Path) -> None:
    def broken() -> Iterator[Job]:
        yield Job(source, RELATIVE)
        raise RuntimeError("walk broke off")

    with pytest.raises(RuntimeError):
        manifest.plan(broken())
    assert list(manifest.rows()) == []
    manifest.plan([Job(source, RELATIVE)])
    assert manifest.counts()[State.PENDING] == 1


def test_source_is_kept_absolute(manifest: Manifest, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    start(manifest, Path(source.name))
    row = manifest.get(RELATIVE)
    assert row is not None
    assert row.source == source


# What counts as done


@pytest.fixture
def done(manifest: Manifest, source: Path, out: Path) -> Manifest:
    start(manifest, source)
    finish(manifest, out)
    return manifest


@pytest.mark.parametrize(("key", "weights"), [("settings-2", WEIGHTS), (KEY, "weights-2")])
def test_other_settings_or_weights_are_not_done(
    done: Manifest, source: Path, out: Path, key: str, weights: str
) -> None:
    assert not done.is_done(RELATIVE, source, key, weights, out)


def test_other_recording_is_not_done(done: Manifest, source: Path, out: Path) -> None:
    assert not done.is_done(Path("a.wav"), source, KEY, WEIGHTS, out)


def rewrite(path: Path, content: bytes) -> None:
    """Other content at a later time, however coarse the file system's clock."""
    later = path.stat().st_mtime_ns + 10**9
    path.write_bytes(content)
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("content", [b"other", b"longer than before"])
def test_changed_input_is_not_done(done: Manifest, source: Path, out: Path, content: bytes) -> None:
    rewrite(source, content)
    assert not is_done(done, source, out)


def test_missing_input_is_not_done(done: Manifest, source: Path, out: Path) -> None:
    source.unlink()
    assert not is_done(done, source, out)


def test_untouched_input_is_not_hashed(
    done: Manifest, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_hashing(monkeypatch)
    assert is_done(done, source, out, verify_hashes=False)


def test_touched_input_is_hashed_once_and_done(
    done: Manifest, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(source, b"noisy")
    assert is_done(done, source, out)
    forbid_hashing(monkeypatch)
    assert is_done(done, source, out, verify_hashes=False)


def test_moved_input_is_done_and_remembered(done: Manifest, source: Path, out: Path) -> None:
    moved = source.rename(source.with_name("b.wav"))
    assert is_done(done, moved, out)
    row = done.get(RELATIVE)
    assert row is not None
    assert row.source == moved


def test_other_file_of_same_size_and_time_under_the_same_name_is_not_done(
    done: Manifest, source: Path, out: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(b"other")
    status = source.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not is_done(done, other, out)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"cut")])
def test_output_gone_or_cut_off_is_not_done(
    done: Manifest, source: Path, out: Path, damage: Callable[[Path], object]
) -> None:
    damage(out / RELATIVE)
    assert not is_done(done, source, out)
    assert not is_done(done, source, out, verify_hashes=False)


def test_flipped_output_is_caught_by_its_hash_only(done: Manifest, source: Path, out: Path) -> None:
    (out / RELATIVE).write_bytes(b"cleaN")
    assert not is_done(done, source, out)
    assert is_done(done, source, out, verify_hashes=False)


def test_moved_output_folder_is_still_done(done: Manifest, source: Path, out: Path) -> None:
    done.close()
    moved = out.rename(out.with_name("moved"))
    with Manifest.open(moved) as again:
        assert is_done(again, source, moved)


def test_fingerprint_refuses_a_file_that_is_still_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(path: Path) -> str:
        with path.open("ab") as stream:
            stream.write(b"more")
        return "0" * 64

    monkeypatch.setattr(module, "file_sha256", grow)
    with pytest.raises(RecordingError, match="changed while it was read"):
        fingerprint(source)


# Many rows


def fill(manifest: Manifest, count: int) -> None:
    manifest.plan(Job(Path(f"/in/{number:04}.wav"), Path(f"{number:04}.wav")) for number in range(count))


def test_rows_come_in_order_over_several_pages(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 7)
    fill(manifest, 30)
    assert [row.relative.stem for row in manifest.rows()] == [f"{number:04}" for number in range(30)]


def test_rows_may_be_written_while_they_are_read(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 7)
    fill(manifest, 30)
    for row in manifest.rows(State.PENDING):
        manifest.fail(row.relative, row.source, "no header")
    assert manifest.counts() == {
        State.PENDING: 0,
        State.RUNNING: 0,
        State.DONE: 0,
        State.FAILED: 30,
        State.SKIPPED: 0,
    }


def test_rows_of_one_state(manifest: Manifest) -> None:
    fill(manifest, 5)
    manifest.skip(Path("0003.wav"), Path("/in/0003.wav"), "no speech")
    assert [row.relative.name for row in manifest.rows(State.SKIPPED)] == ["0003.wav"]


def test_names_that_are_not_utf8_keep_their_bytes(manifest: Manifest, tmp_path: Path) -> None:
    name = Path(os.fsdecode(b"caf\xe9.wav"))
    fill(manifest, 2)
    manifest.plan([Job(tmp_path / name, name)])
    manifest.fail(name, tmp_path / name, f"{name}: no header")
    row = manifest.get(name)
    assert row is not None
    assert os.fsencode(row.relative) == b"caf\xe9.wav"
    assert len(list(manifest.rows())) == 3


def test_export_holds_one_object_a_line(done: Manifest, source: Path, out: Path) -> None:
    target = out / STATE_FOLDER / "manifest.jsonl"
    name = Path(os.fsdecode(b"caf\xe9\n.wav"))
    done.plan([Job(source.parent / name, name)])
    done.export_jsonl(target)
    records = {record["relative"]: record for record in map(json.loads, target.read_text("ascii").splitlines())}
    assert set(records) == {RELATIVE.as_posix(), str(name)}
    record = records[RELATIVE.as_posix()]
    assert (record["state"], record["source"], record["output"]) == ("done", str(source), RELATIVE.as_posix())
    assert record["timings"] == {"extract": 0.5}


def test_failed_export_leaves_the_earlier_one(done: Manifest, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = out / STATE_FOLDER / "manifest.jsonl"
    done.export_jsonl(target)
    earlier, beside = target.read_text(), set(os.listdir(target.parent))

    def broken() -> Iterator[module.Row]:
        yield from ()
        raise ExdiffError("disk went away")

    monkeypatch.setattr(done, "rows", broken)
    with pytest.raises(ExdiffError):
        done.export_jsonl(target)
    assert target.read_text() == earlier
    assert set(os.listdir(target.parent)) == beside


def test_threads_share_a_manifest(manifest: Manifest) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 20):
            manifest.fail(Path(f"{number}.wav"), Path(f"/in/{number}.wav"), "no header")

    threads = [Thread(target=work, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert manifest.counts()[State.FAILED] == 60


# Kills


def run_and_kill(script: str, out: Path) -> None:
    """Run ``script`` in a process of its own and kill it once it says so."""
    head = """
        import sys, time
        from pathlib import Path
        from exdiff_cli.jobs import Job
        from exdiff_cli.manifest import Fingerprint, Manifest
        manifest = Manifest.open(Path(sys.argv[1]))
        content = Fingerprint(5, 1, "0" * 64)
        def start(name):
            manifest.start(Path(name), Path("/in", name), content, settings_key="k", weights_sha256="w")
        def finish(name):
            manifest.finish(Path(name), output=Path(name), output_size=5, output_sha256="1", timings={})
    """
    tail = "\nprint('ready', flush=True)\ntime.sleep(60)\n"
    code = textwrap.dedent(head) + textwrap.dedent(script) + tail
    with subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.kill()
    assert said == b"ready\n"
    assert process.returncode == -signal.SIGKILL


def test_kill_between_writes_keeps_what_was_committed(out: Path) -> None:
    run_and_kill("start('a.wav')\nfinish('a.wav')\nstart('b.wav')", out)
    with Manifest.open(out) as manifest:
        assert {row.relative.name: row.state for row in manifest.rows()} == {
            "a.wav": State.DONE,
            "b.wav": State.PENDING,
        }
        row = manifest.get(Path("b.wav"))
        assert row is not None
        assert row.attempts == 1
        assert manifest.set_aside is None


def test_kill_within_a_transaction_leaves_the_rows_as_they_were(out: Path) -> None:
    # Far more rows than SQLite caches, so that uncommitted pages have reached the disk when the kill comes.
    script = """
        start('a.wav')
        manifest._database.execute("PRAGMA cache_size = 5")
        manifest._database.execute("BEGIN IMMEDIATE")
        finish('a.wav')
        for number in range(3000):
            start(f'{number}.wav')
    """
    run_and_kill(script, out)
    assert database_of(out).with_name("manifest.sqlite-wal").stat().st_size > 100_000
    with Manifest.open(out) as manifest:
        assert [(row.relative.name, row.state) for row in manifest.rows()] == [("a.wav", State.PENDING)]
        start_again = Fingerprint(5, 1, "0" * 64)
        manifest.start(Path("a.wav"), Path("/in/a.wav"), start_again, settings_key="k", weights_sha256="w")
        assert manifest.counts()[State.RUNNING] == 1


def test_looking_on_after_a_kill_changes_nothing(out: Path) -> None:
    run_and_kill("start('a.wav')", out)
    for _ in range(2):
        with Manifest.open(out, read_only=True) as manifest:
            assert manifest.counts()[State.RUNNING] == 1


# Results that lie as they were left


def touch(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


@pytest.fixture
def twin(manifest: Manifest, source: Path, out: Path) -> Manifest:
    """:func:`manifest` with one recording done, and the modification time of its result known."""
    start(manifest, source)
    output = finish(manifest, out)
    assert is_done(manifest, source, out)
    row = manifest.get(RELATIVE)
    assert row is not None
    assert row.output_mtime_ns == output.stat().st_mtime_ns
    return manifest


def split(manifest: Manifest, source: Path, out: Path) -> bool:
    """Whether it is done, by the page's query."""
    done, others = manifest.split_done([Job(source, RELATIVE), Job(source, Path("new.wav"))], KEY, WEIGHTS, out)
    assert [job.relative for job in (*done, *others)] in ([RELATIVE, Path("new.wav")],)
    return bool(done)


def test_an_untouched_result_is_not_hashed(
    twin: Manifest, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_hashing(monkeypatch)
    assert is_done(twin, source, out)
    assert split(twin, source, out)


def test_a_touched_result_is_hashed_once(
    twin: Manifest, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(out / RELATIVE)
    assert split(twin, source, out)
    forbid_hashing(monkeypatch)
    assert split(twin, source, out)


@pytest.mark.parametrize("content", [b"cleaN", b"cut"])
def test_a_changed_result_is_not_done(twin: Manifest, source: Path, out: Path, content: bytes) -> None:
    (out / RELATIVE).write_bytes(content)
    touch(out / RELATIVE)
    assert not split(twin, source, out)
    (out / RELATIVE).unlink()
    assert not split(twin, source, out)


def test_a_page_is_split_as_each_of_it_is(
    manifest: Manifest, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one query's worth, of every kind."""
    monkeypatch.setattr(module, "PAGE_ROWS", 4)
    jobs = []
    for number in range(14):
        relative = Path(f"{number:04}.wav")
        jobs.append(Job(source, relative))
        if number % 3:
            start(manifest, source, relative)
        if number % 3 == 2:
            finish(manifest, out, relative)
    for manifest_key in (KEY, "other settings"):
        done, others = manifest.split_done(jobs, manifest_key, WEIGHTS, out)
        expected = [job for job in jobs if manifest.is_done(job.relative, source, manifest_key, WEIGHTS, out)]
        assert done == expected
        assert sorted([*done, *others], key=lambda job: job.relative) == jobs


def test_failed_among(manifest: Manifest, source: Path) -> None:
    jobs = [Job(source, Path(f"{number}.wav")) for number in range(4)]
    manifest.plan(jobs)
    for job in jobs[1:3]:
        manifest.fail(job.relative, source, "no sound")
    assert manifest.failed_among([*jobs, Job(source, Path("new.wav"))]) == jobs[1:3]


# What results are made with


def test_what_results_are_made_with_is_kept(manifest: Manifest, out: Path, source: Path) -> None:
    kept = MadeWith(KEY, WEIGHTS, {"seed": 7, "sampler": {"steps": 1}}, os.fsdecode(b"/models/\xe4"), "/horns")
    manifest.remember(kept)
    manifest.remember(kept)
    assert manifest.made_with(KEY, WEIGHTS) == kept
    assert manifest.made_with(KEY, "other") is None
    assert manifest.made_with(None, None) is None
    manifest.plan([Job(source, RELATIVE)], KEY, WEIGHTS)
    manifest.fail(RELATIVE, source, "cannot be opened")
    row = manifest.get(RELATIVE)
    assert row is not None
    assert manifest.made_with(row.settings_key, row.weights_sha256) == kept


# Schema 1


@pytest.fixture
def version_1(out: Path, source: Path) -> Path:
    """A manifest as version 0.1.0 wrote it, with one recording done."""
    with Manifest.open(out) as manifest:
        start(manifest, source)
        finish(manifest, out)
    with sqlite3.connect(database_of(out)) as database:
        database.execute("ALTER TABLE recordings DROP COLUMN output_mtime_ns")
        database.execute("ALTER TABLE recordings DROP COLUMN report_sha256")
        database.execute("DROP TABLE runs")
        database.execute("DROP INDEX recordings_by_output")
        database.execute("PRAGMA user_version = 1")
    database.close()
    return out


def test_schema_1_is_raised_and_its_results_count(version_1: Path, source: Path) -> None:
    for _ in range(2):
        with Manifest.open(version_1) as manifest:
            assert manifest.set_aside is None
            assert is_done(manifest, source, version_1)
            assert manifest.made_with(KEY, WEIGHTS) is None
            manifest.remember(MadeWith(KEY, "other", {}, "b"))
            assert manifest._database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


# Schema 3


def test_schema_3_is_raised_and_knows_no_hashes_of_reports(out: Path, source: Path) -> None:
    with Manifest.open(out) as manifest:
        start(manifest, source)
        finish(manifest, out)
    with sqlite3.connect(database_of(out)) as database:
        database.execute("ALTER TABLE recordings DROP COLUMN report_sha256")
        database.execute("PRAGMA user_version = 3")
    database.close()
    with Manifest.open(out) as manifest:
        row = manifest.get(RELATIVE)
        assert row is not None
        assert row.report_sha256 is None
        assert is_done(manifest, source, out)
        start(manifest, source)
        manifest.finish(RELATIVE, output=RELATIVE, output_size=1, output_sha256="1", timings={}, report_sha256="r" * 64)
        row = manifest.get(RELATIVE)
        assert row is not None
        assert (row.report_sha256, json.loads(row.as_json())["report_sha256"]) == ("r" * 64, "r" * 64)
        start(manifest, source)
        row = manifest.get(RELATIVE)
        assert row is not None
        assert row.report_sha256 is None


def test_order_of_is_that_of_the_rows(manifest: Manifest, source: Path) -> None:
    names = ["b", "é", "\udce9", "a/b", "a", "\ue000", "a b", "\udcff/a"]
    manifest.plan(Job(source, Path(name)) for name in names)
    found = [row.relative for row in manifest.rows()]
    assert found == sorted(map(Path, names), key=module.order_of)


# The file itself


def test_settings_are_durable(manifest: Manifest) -> None:
    pragmas = {
        name: manifest._database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "busy_timeout", "user_version")
    }
    assert pragmas.pop("busy_timeout") >= 10_000
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "user_version": SCHEMA_VERSION}


def test_newer_schema_is_refused_and_left_alone(out: Path) -> None:
    Manifest.open(out).close()
    with sqlite3.connect(database_of(out)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    before = database_of(out).read_bytes()
    for read_only in (False, True):
        with pytest.raises(UsageError) as refused:
            Manifest.open(out, read_only=read_only)
        assert "newer exdiff" in message_of(refused)
    assert database_of(out).read_bytes() == before


VERSION_1 = """
CREATE TABLE recordings (
    relative TEXT PRIMARY KEY, source TEXT NOT NULL, size INTEGER, mtime_ns INTEGER, sha256 TEXT, settings_key TEXT,
    weights_sha256 TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed', 'skipped')),
    attempts INTEGER NOT NULL DEFAULT 0, error TEXT, output TEXT, output_size INTEGER, output_sha256 TEXT,
    timings TEXT NOT NULL DEFAULT '{}', updated_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX recordings_by_state ON recordings (state);
INSERT INTO recordings (relative, source, state, attempts, error, updated_at) VALUES
    ('a.wav', '/in/a.wav', 'failed', 2, 'cut off', '2026-05-31T06:00:00.000+00:00'),
    ('b.wav', '/in/b.wav', 'running', 1, NULL, '2026-05-31T06:00:01.000+00:00');
PRAGMA user_version = 1;
"""
"""What the first version wrote; never to be changed."""


@pytest.fixture
def first_version(out: Path) -> Path:
    database_of(out).parent.mkdir(parents=True)
    with sqlite3.connect(database_of(out)) as database:
        database.executescript(VERSION_1)
    database.close()
    return out


def add_step(monkeypatch: pytest.MonkeyPatch, *statements: str) -> int:
    """Let the code know one version more."""
    monkeypatch.setattr(module, "_STEPS", (*module._STEPS, statements))
    monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    return SCHEMA_VERSION + 1


def assert_kept(manifest: Manifest) -> None:
    assert manifest.set_aside is None
    assert [(row.relative.name, row.state, row.attempts, row.error) for row in manifest.rows()] == [
        ("a.wav", State.FAILED, 2, "cut off"),
        ("b.wav", State.PENDING, 1, None),
    ]


def test_the_first_version_is_brought_up_to_date(first_version: Path) -> None:
    with Manifest.open(first_version) as manifest:
        assert_kept(manifest)
        assert manifest._database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_each_step_is_taken_once(first_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = add_step(monkeypatch, "CREATE TABLE birds (name TEXT)", "INSERT INTO birds VALUES ('wren')")
    for _ in range(2):
        with Manifest.open(first_version) as manifest:
            assert_kept(manifest)
            assert manifest._database.execute("PRAGMA user_version").fetchone() == (version,)
            assert manifest._database.execute("SELECT name FROM birds").fetchall() == [("wren",)]
    with Manifest.open(first_version.with_name("new")) as manifest:
        assert manifest._database.execute("SELECT name FROM birds").fetchall() == [("wren",)]


def test_a_step_that_fails_halfway_changes_nothing(first_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        add_step(patch, "DROP INDEX recordings_by_state", "INSERT INTO recordings (relative) VALUES ('c.wav')")
        with pytest.raises(UsageError, match="cannot be opened"):
            Manifest.open(first_version)
    with Manifest.open(first_version) as manifest:
        assert_kept(manifest)
        assert manifest._database.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()


def test_an_older_version_is_not_changed_by_looking_on(first_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_step(monkeypatch, "CREATE TABLE birds (name TEXT)")
    before = database_of(first_version).read_bytes()
    with pytest.raises(UsageError) as refused:
        Manifest.open(first_version, read_only=True)
    assert "older exdiff" in message_of(refused)
    assert database_of(first_version).read_bytes() == before


def test_an_older_version_without_its_table_is_set_aside(first_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(database_of(first_version)) as database:
        database.execute("DROP TABLE recordings")
    database.close()
    add_step(monkeypatch, "CREATE INDEX by_source ON recordings (source)")
    with Manifest.open(first_version) as manifest:
        assert manifest.set_aside is not None
        assert manifest.is_empty()


def test_restored_rows_are_as_they_were(done: Manifest, out: Path) -> None:
    name = Path(os.fsdecode(b"caf\xe9.wav"))
    done.plan([Job(Path("/in") / name, name)])
    rows = list(done.rows())
    with Manifest.open(out.with_name("other")) as other:
        assert other.is_empty()
        assert other.restore(rows) == 2
        assert list(other.rows()) == rows
        assert (other.restore(rows), other.is_empty()) == (0, False)


def not_a_database(path: Path) -> None:
    path.write_bytes(b"this is not a database, but long enough to hold a header" * 50)


def broken_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def someone_elses(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE birds (name TEXT)")
    database.close()


def other_columns(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE recordings DROP COLUMN timings")
    database.close()


@pytest.mark.parametrize("damage", [not_a_database, broken_pages, cut_off, someone_elses, other_columns])
def test_damaged_file_is_set_aside_with_a_warning(
    out: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with Manifest.open(out) as manifest:
        fill(manifest, 200)
    damage(database_of(out))
    damaged = database_of(out).read_bytes()
    with pytest.raises(UsageError) as refused:
        Manifest.open(out, read_only=True)
    assert "cannot be read" in message_of(refused)
    with caplog.at_level(logging.WARNING), Manifest.open(out) as manifest:
        assert list(manifest.rows()) == []
        assert manifest.set_aside is not None
        assert manifest.set_aside.read_bytes() == damaged
        assert manifest.set_aside.match("manifest.corrupt-*.sqlite")
        (record,) = caplog.records
        assert manifest.set_aside.name in record.getMessage()
        fill(manifest, 3)
    with Manifest.open(out) as manifest:
        assert (manifest.set_aside, manifest.counts()[State.PENDING]) == (None, 3)


def test_log_of_a_damaged_file_is_not_replayed_into_the_new_one(out: Path) -> None:
    with Manifest.open(out) as manifest:
        fill(manifest, 200)
    run_and_kill("start('a.wav')", out)
    log = database_of(out).with_name("manifest.sqlite-wal").read_bytes()
    not_a_database(database_of(out))
    with Manifest.open(out) as manifest:
        assert manifest.set_aside is not None
        assert list(manifest.rows()) == []
    manifest.set_aside.rename(database_of(out)).write_bytes(b"")
    database_of(out).with_name("manifest.sqlite-wal").write_bytes(log)
    with Manifest.open(out) as manifest:
        assert list(manifest.rows()) == []


def test_empty_file_becomes_a_manifest(out: Path) -> None:
    database_of(out).parent.mkdir(parents=True)
    database_of(out).touch()
    with Manifest.open(out) as manifest:
        assert manifest.set_aside is None


def test_damage_met_later_is_one_line(done: Manifest, out: Path) -> None:
    done._database.execute("UPDATE recordings SET timings = '{half'")
    with pytest.raises(ExdiffError) as failed:
        list(done.rows())
    assert str(database_of(out)) in message_of(failed)


def test_folder_that_cannot_be_made(out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(UsageError) as refused:
        Manifest.open(out)
    assert "cannot be opened" in message_of(refused)


def test_looking_into_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        Manifest.open(tmp_path, read_only=True)
    assert "no manifest in it" in message_of(refused)
    assert list(tmp_path.iterdir()) == []


def test_looking_into_a_folder_one_may_only_read() -> None:
    """Run as another user where this one is root, whom no permission stops."""
    script = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from exdiff_cli.manifest import Manifest
        if os.geteuid() == 0:
            os.setgid({NOBODY}), os.setuid({NOBODY})
        with Manifest.open(Path(sys.argv[1]), read_only=True) as manifest:
            print([row.state.value for row in manifest.rows()])
    """)
    # Not below tmp_path, whose parents are closed to other users.
    with TemporaryDirectory() as temporary:
        out = Path(temporary)
        with Manifest.open(out) as manifest:
            fill(manifest, 1)
        out.chmod(0o755)
        (out / STATE_FOLDER).chmod(0o555)
        command = [sys.executable, "-c", script, temporary]
        looked = subprocess.run(command, capture_output=True, text=True, check=False)
        (out / STATE_FOLDER).chmod(0o755)
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout == "['pending']\n"


@pytest.mark.parametrize("name", [b"50% off?#&=", b"caf\xe9"])
def test_folder_names_that_mean_something_in_an_address(tmp_path: Path, source: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    with Manifest.open(folder) as manifest:
        start(manifest, source)
    with Manifest.open(folder, read_only=True) as manifest:
        assert manifest.counts()[State.RUNNING] == 1


def test_looking_on_beside_a_run(done: Manifest, source: Path, out: Path) -> None:
    rewrite(source, b"noisy")
    with Manifest.open(out, read_only=True) as looking:
        assert is_done(looking, source, out)
        with pytest.raises(ExdiffError):
            looking.fail(RELATIVE, source, "must not be written")
        start(done, source)
        assert looking.counts()[State.RUNNING] == 1
