"""How far a run is: a bar on a terminal, lines in a log, and figures that add up."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from exdiff_cli.audio.recording import Recording
from exdiff_cli.engine import Outcome
from exdiff_cli.jobs import Job
from exdiff_cli.logs import LogFormat, adjust, no_bar, set_up
from exdiff_cli.progress import LINE_SECONDS, Progress, Tally


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def job(name: str) -> Job:
    return Job(Path("in", name), Path(name))


def recording(seconds: float) -> Recording:
    return Recording(Path("x"), 100, 1, round(100 * seconds), "WAV", "PCM_16")


def done(name: str) -> Outcome:
    return Outcome(job(name), Path("out", name))


@pytest.fixture(autouse=True)
def as_without_options() -> Iterator[None]:
    set_up()
    yield
    set_up()


def test_what_is_not_known_yet_is_taken_for_the_mean() -> None:
    clock = Clock()
    tally = Tally(clock, pending=10)
    assert (tally.audio_total, tally.speed) == (0, None)
    tally.begin(job("a"), recording(100))
    tally.begin(job("b"), recording(300))
    assert tally.audio_total == 10 * 200
    clock.now, tally.audio_done = 50.0, 100.0
    tally.end(done("a"))
    assert (tally.speed, tally.seconds_left) == (2.0, 950.0)
    tally.end(Outcome(job("b"), error="damaged"))
    tally.end(Outcome(job("c"), error="empty"))
    assert tally.audio_total == 8 * 100
    now = datetime(2026, 5, 30, 23, 50)
    assert tally.in_words(now) == ("1 of 10 recordings, 2 failed, 0.03 h of audio, 2.0 x real time, done about 23:55")
    assert tally.as_fields() == {
        "recordings_done": 1,
        "recordings_failed": 2,
        "recordings_total": 10,
        "audio_hours": 0.0278,
        "speed": 2.0,
        "seconds_left": 350,
    }
    assert "done about 2026-05-31 00:0" in tally.in_words(datetime(2026, 5, 30, 23, 58))


def test_a_run_that_is_done_is_all_of_it() -> None:
    tally = Tally(Clock(), pending=2)
    for name in ("a", "b"):
        tally.begin(job(name), recording(7))
        tally.audio_done += 7
        tally.end(done(name))
    assert tally.audio_total == tally.audio_done == 14
    assert tally.in_words(datetime.now()).startswith("2 of 2 recordings")


def tell(progress: Progress, clock: Clock) -> None:
    """A minute of a run."""
    with progress:
        progress.ended(Outcome(job("before"), skipped=True))
        progress.planned(2, 3)
        progress.began(job("a"), recording(60))
        for _ in range(61):
            clock.now += 1
            progress.advanced(1.0)
        progress.ended(done("a"))


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2)])
def test_in_a_log_it_is_a_line_an_interval_or_nothing(
    verbose: int, lines: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    adjust(verbose=verbose)
    clock = Clock()
    tell(Progress(clock), clock)
    assert LINE_SECONDS == 30
    assert [record.levelno for record in caplog.records] == [logging.INFO] * lines
    written = capsys.readouterr()
    assert written.out == ""
    assert len(written.err.splitlines()) == lines
    assert "\r" not in written.err
    if lines:
        assert "0 of 2 recordings, 0.02 h of audio, 1.0 x real time" in written.err


def test_json_has_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    adjust(verbose=1, log_format=LogFormat.JSON)
    clock = Clock()
    tell(Progress(clock), clock)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["audio_hours"] for line in told] == [pytest.approx(seconds / 3600, abs=1e-4) for seconds in (30, 60)]
    assert told[0]["recordings_total"] == 2


@pytest.mark.parametrize(
    ("term", "options", "bar"),
    [
        ("xterm", {}, True),
        ("xterm", {"verbose": 1}, True),
        ("dumb", {}, False),
        ("xterm", {"quiet": True}, False),
        ("xterm", {"log_format": LogFormat.JSON}, False),
    ],
)
def test_a_bar_is_for_terminals(term: str, options: dict[str, Any], bar: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr, clock = Terminal(), Clock()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", term)
    adjust(**options)
    assert no_bar() != bar
    tell(Progress(clock), clock)
    assert ("\r" in stderr.getvalue()) == bar
    if bar:
        assert "of 2 recordings" in stderr.getvalue()
