"""`enhance -`: the same result as from a folder, and clear ends whatever happens at either end of the pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from recordings import samples_of, store

from exdiff_cli import cli, pipe
from exdiff_cli.discover import DASH
from exdiff_cli.errors import NoInputError, RecordingError, StoppedError, UsageError
from exdiff_cli.measures.dnsmos import Dnsmos
from exdiff_cli.pipe import check_pipe, spool
from exdiff_cli.stopping import SIGNALS

MAIN = """
from exdiff_cli.measures.dnsmos import Dnsmos
Dnsmos.score = lambda self, windows: []
from exdiff_cli.cli import main
main()
"""
UNKNOWN = b"\xff" * 4


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where streams are put on disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


Enhance = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def enhance(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], bundle_folder: Path) -> Enhance:
    """Call the command in this process, DNSMOS aside: its code, stdout and stderr."""
    monkeypatch.setattr(Dnsmos, "score", lambda self, windows: [])
    monkeypatch.setattr(tempfile, "tempdir", None)

    def call(*arguments: object, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        monkeypatch.setattr(sys, "argv", ["exdiff", "enhance", *map(str, arguments), "--bundle", str(bundle_folder)])
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capfdbinary.readouterr()

    return call


def as_ffmpeg_pipes(path: Path) -> bytes:
    """A WAV as ffmpeg writes it where it cannot go back: lengths unknown, a tag before the audio."""
    content = path.read_bytes()
    start = content.index(b"data") + 8
    form = content[content.index(b"fmt ") :][:24]
    tag = b"INFOISFT" + (14).to_bytes(4, "little") + b"Lavf58.76.100\0"
    chunks = form + b"LIST" + len(tag).to_bytes(4, "little") + tag + b"data" + UNKNOWN + content[start:]
    return b"RIFF" + UNKNOWN + b"WAVE" + chunks


def test_the_result_is_that_of_a_folder(enhance: Enhance, temporary: Path, tmp_path: Path) -> None:
    source = store(tmp_path / "call.wav", 4.0, rate=8_000)
    source.write_bytes(as_ffmpeg_pipes(source))
    code, out, err = enhance("-", stdin=source.read_bytes())
    assert (code, err) == (0, b"")
    assert enhance(source, "-o", tmp_path / "out")[0] == 0
    assert out == (tmp_path / "out" / "call.wav").read_bytes()
    assert samples_of(tmp_path / "out" / "call.wav").shape == (1, 32_000)
    assert not list(temporary.iterdir())


def test_a_file_and_a_report(enhance: Enhance, temporary: Path, tmp_path: Path) -> None:
    source, target = store(tmp_path / "call.flac", 1.0, 44_100, 2, "PCM_24"), tmp_path / "new" / "clean.flac"
    code, out, err = enhance("-", "--steps", 0, "-o", target, "--json", "-v", stdin=source.read_bytes())
    assert code == 0
    recording, summary = map(json.loads, out.splitlines())
    assert (recording["message_type"], recording["recording"], recording["source"]) == ("recording", "stdin", "-")
    report = recording["report"]
    assert (report["input"]["path"], report["output"]["path"]) == ("-", str(target))
    assert (summary["message_type"], summary["done"], summary["output"]) == ("summary", 1, str(target))
    assert samples_of(target).shape == (2, 44_100)
    assert [path.name for path in target.parent.iterdir()] == ["clean.flac"]
    assert b" began stdin: 1.0 s of FLAC PCM_24" in err
    assert str(temporary).encode() not in out + err


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [(b"", 4, b"exdiff: stdin: is empty"), (b"no audio\n" * 99, 3, b"failed: stdin: cannot be decoded as audio")],
)
def test_what_is_no_recording_is_one_line(
    content: bytes, code: int, words: bytes, enhance: Enhance, temporary: Path
) -> None:
    ended, out, err = enhance("-", stdin=content)
    assert (ended, out) == (code, b"")
    (line,) = err.splitlines()
    assert line.startswith(words)
    assert not list(temporary.iterdir())


def test_a_reader_that_goes_away_ends_it_quietly(
    bundle_folder: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # then Python's own stdout may write a part only
    source = store(tmp_path / "call.wav", 5.0, rate=44_100)  # more than a pipe holds
    command = [sys.executable, "-c", MAIN, "enhance", "-", "--bundle", str(bundle_folder), "--steps", "0"]
    with source.open("rb") as stdin, subprocess.Popen(command, stdin=stdin, stdout=-1, stderr=-1) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE
    assert not list(temporary.iterdir())


def test_a_signal_while_it_waits_leaves_nothing(bundle_folder: Path, temporary: Path) -> None:
    command = [sys.executable, "-c", MAIN, "enhance", "-", "--bundle", str(bundle_folder)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdin
        process.stdin.write(b"RIFF")
        process.stdin.flush()
        while not list(temporary.glob("exdiff-*/stdin")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + signal.SIGINT, b"")
    assert err.decode() == "exdiff: SIGINT: stopped\n"
    assert not list(temporary.iterdir())


def test_a_signal_in_the_middle_of_work_is_no_failure_of_it() -> None:
    def interrupted() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Exception:
            pytest.fail("taken for a failure")

    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(StoppedError, match="SIGTERM") as raised, pipe._ending_on_signals():
        interrupted()
    assert raised.value.exit_code == 128 + signal.SIGTERM
    assert [signal.getsignal(number) for number in SIGNALS] == before


class End:
    """One end of the process."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paths": [DASH, Path("a.wav")]}, "is one stream"),
        ({"paths": [DASH, DASH]}, "is one stream"),
        ({"stdin": End(True)}, "stdin is a terminal"),
        ({"stdin": None}, "stdin is a terminal"),
        ({"stdout": End(True)}, "stdout is a terminal"),
        ({"stdout": None, "output": DASH}, "stdout is a terminal"),
        ({"as_json": True}, "stdout carries the audio"),
        ({"as_json": True, "output": DASH}, "stdout carries the audio"),
        ({"output": Path(__file__)}, "exists; name a new file"),
        ({"output": Path(__file__).parent}, "exists; name a new file"),
        ({"for_folders": {"--shard": None, "--dry-run": True}}, "enhance - --dry-run: is for folders"),
        ({}, None),
        ({"output": Path("new.wav"), "as_json": True, "stdout": End(True)}, None),
    ],
)
def test_calls_that_cannot_be_served(
    changes: dict[str, Any], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, changes.pop(name, End(False)))
    given: dict[str, Any] = {"paths": [DASH], "output": None, "as_json": False, "for_folders": {"--shard": None}}
    if words is None:
        check_pipe(**given | changes)
    else:
        with pytest.raises(UsageError, match=words):
            check_pipe(**given | changes)


def test_a_stream_is_put_on_disk_as_it_is(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    spool(BytesIO(content), tmp_path / "stdin")
    assert (tmp_path / "stdin").read_bytes() == content
    with pytest.raises(NoInputError):
        spool(BytesIO(b""), tmp_path / "stdin")


def test_no_room_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    (tmp_path / "stdin").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match=r"stdin: cannot be kept in .*; set TMPDIR"):
        spool(BytesIO(b"x" * 99), tmp_path / "stdin")
