"""Status and verification of an output folder: all parts together, and every changed byte."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import pytest
from typer.testing import CliRunner

from exdiff_cli import status
from exdiff_cli.audio.io import file_sha256
from exdiff_cli.cli import app
from exdiff_cli.errors import UsageError
from exdiff_cli.listening.sources import Comparison, find_sources
from exdiff_cli.manifest import Manifest, fingerprint
from exdiff_cli.report.rows import read_rows
from exdiff_cli.status import done_rows, export_lines, read_status, status_table
from exdiff_cli.verify import verify


def finish(out: Path, name: str, part: str = "", content: bytes = b"sound " * 50) -> Path:
    """A recording that is done, with a result of ``content``."""
    source = out.parent / "in" / name
    for path in (source, out / name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with Manifest.open(out, part) as manifest:
        manifest.start(Path(name), source, fingerprint(source), settings_key="k", weights_sha256="w")
        size, sha256 = (out / name).stat().st_size, file_sha256(out / name)
        manifest.finish(Path(name), output=Path(name), output_size=size, output_sha256=sha256, timings={})
    return out / name


def fail(out: Path, name: str, error: str) -> None:
    with Manifest.open(out) as manifest:
        manifest.fail(Path(name), out.parent / "in" / name, error)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_counts_of_all_parts_together(out: Path) -> None:
    finish(out, "a.wav")
    finish(out, "b.wav", "shard-1-of-2")
    finish(out, "c.wav", "shard-2-of-2")
    fail(out, "d.wav", "d.wav: no sound")
    found = read_status(out)
    assert found.counts == {"pending": 0, "running": 0, "done": 3, "failed": 1, "skipped": 0}
    assert found.failures == [("d.wav", "d.wav: no sound")]
    assert "no sound" in str(status_table(found).caption)


@pytest.mark.parametrize("parts", [("", "shard-1-of-2"), ("shard-1-of-2", "")])
def test_what_was_done_whole_and_in_a_shard_counts_once_as_it_was_last(out: Path, parts: tuple[str, str]) -> None:
    finish(out, "b.wav", "shard-2-of-2")
    for part, content in zip(parts, (b"before", b"and now"), strict=True):
        finish(out, "a.wav", part, content)
        time.sleep(0.002)  # as the manifest keeps milliseconds
    assert [(str(row.relative), row.output_size) for row in done_rows(out)] == [("a.wav", 7), ("b.wav", 300)]
    assert read_status(out).counts["done"] == 2
    assert [json.loads(line)["relative"] for line in export_lines(out)] == ["a.wav", "b.wav"]
    assert list(verify(out)) == []


def test_what_failed_last_is_not_done(out: Path) -> None:
    finish(out, "a.wav", "shard-1-of-2")
    time.sleep(0.002)
    fail(out, "a.wav", "a.wav: no sound")
    assert list(done_rows(out)) == []
    found = read_status(out)
    assert (found.counts["done"], found.counts["failed"]) == (0, 1)
    assert found.failures == [("a.wav", "a.wav: no sound")]


def test_what_is_intact_passes(out: Path) -> None:
    for number in range(5):
        finish(out, f"{number}.wav")
    checked: list[int] = []
    assert list(verify(out, lambda: checked.append(1))) == []
    assert len(checked) == 5


def test_every_changed_byte_is_found(out: Path) -> None:
    random = Random(0)
    paths = [finish(out, f"{number}.wav", content=random.randbytes(200)) for number in range(4)]
    for turn in range(500):
        path = paths[turn % len(paths)]
        whole = path.read_bytes()
        place, change = random.randrange(len(whole)), random.randrange(1, 256)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        assert [(finding.output, finding.problem) for finding in verify(out)] == [(str(path), "changed")], place
        path.write_bytes(whole)
    assert list(verify(out)) == []


def test_missing_grown_and_unreadable_results(out: Path) -> None:
    gone, grown, folder = (finish(out, f"{name}.wav") for name in "abc")
    gone.unlink()
    grown.write_bytes(grown.read_bytes() + b"x")
    folder.unlink()
    folder.symlink_to(folder)
    assert {finding.recording: finding.problem for finding in verify(out)} == {
        "a.wav": "missing",
        "b.wav": "changed",
        "c.wav": "unreadable",
    }


def test_more_parts_than_files_may_be_open(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 41):
        for folder in (out, other := out.with_name("other")):
            finish(folder, f"{number}.wav", f"shard-{number}-of-40")
    soft, hard = getrlimit(RLIMIT_NOFILE)
    monkeypatch.setattr(status, "FILES_BESIDE", 20)
    setrlimit(RLIMIT_NOFILE, (100, hard))
    try:
        assert len(list(done_rows(out))) == 40
        assert list(verify(out)) == []
        setrlimit(RLIMIT_NOFILE, (100, hard))
        assert len(list(read_rows(out))) == 40
        setrlimit(RLIMIT_NOFILE, (100, hard))
        assert len(find_sources(Comparison(out, (other,)), 40, seed=0)) == 40
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no manifest"):
        read_status(tmp_path)


def test_the_commands(out: Path) -> None:
    path = finish(out, "a.wav")
    fail(out, "b.wav", "b.wav: no sound")
    call = CliRunner().invoke
    shown = call(app, ["status", str(out)])
    assert shown.exit_code == 0
    assert "b.wav: no sound" in shown.stdout
    told = json.loads(call(app, ["status", str(out), "--json"]).stdout)
    assert (told["message_type"], told["done"], told["failed"]) == ("status", 1, 1)
    assert call(app, ["verify", str(out)]).exit_code == 0
    path.write_bytes(b"changed")
    result = call(app, ["verify", str(out), "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 3
    assert [line["message_type"] for line in lines] == ["finding", "summary"]
    assert lines[0]["output"] == str(path)
    assert lines[1] == {"message_type": "summary", "checked": 1, "findings": 1}
