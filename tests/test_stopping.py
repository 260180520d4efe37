"""Stopping: what still fits, when time is up, and what two signals do."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta, timezone

import pytest

from exdiff_cli.errors import UsageError
from exdiff_cli.stopping import FIRST_GUESS, MARGIN, Pace, Stop, on_signals, parse_deadline, parse_duration


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_limit_everything_fits(clock: Clock) -> None:
    stop = Stop(clock=clock)
    assert stop.fits(1e9)
    assert not stop.draining
    assert not stop.over


def test_before_a_deadline_only_what_ends_in_time_is_taken(clock: Clock) -> None:
    stop = Stop(deadline=160.0, clock=clock)
    assert stop.fits(60)
    assert not stop.fits(61)
    assert not stop.draining
    clock.now = 150.0
    assert stop.fits(10)
    assert not stop.fits(11)
    clock.now = 160.0
    assert stop.draining
    assert stop.over


def test_a_signal_takes_nothing_more_and_gives_grace(clock: Clock) -> None:
    stop = Stop(grace=30, clock=clock)
    stop.ask(signal.SIGTERM)
    assert stop.signal is signal.SIGTERM
    assert stop.draining
    assert not stop.fits(0)
    clock.now += 29
    assert not stop.over
    clock.now += 1
    assert stop.over


def test_the_deadline_cuts_the_grace_short(clock: Clock) -> None:
    stop = Stop(deadline=110.0, grace=30, clock=clock)
    stop.ask(signal.SIGINT)
    clock.now = 110.0
    assert stop.over


def test_pace_is_measured(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.seconds_for(10) == pytest.approx(MARGIN * FIRST_GUESS * 10)
    pace.take("a", 40)
    pace.take("b", 20)
    assert pace.seconds_for(10) == pytest.approx(MARGIN * FIRST_GUESS * 70)
    clock.now += 8
    pace.finish("a", 40)
    assert pace.factor == pytest.approx(0.2)
    assert pace.seconds_for(10) == pytest.approx(MARGIN * 0.2 * 30)


def test_what_fails_is_not_waited_for(clock: Clock) -> None:
    """A long recording that breaks early must not keep the run from taking others."""
    pace = Pace(clock)
    pace.take("broken", 36_000)
    clock.now += 2
    pace.finish("broken", 10)
    pace.drop("broken")
    pace.finish("broken", 1)
    assert pace.seconds_for(10) == pytest.approx(MARGIN * 2 / 11 * 10)


def test_the_first_signal_drains_and_the_second_ends_the_process() -> None:
    said: list[str] = []
    child = os.fork()
    if child == 0:
        stop = Stop()
        with on_signals(stop, said.append):
            os.kill(os.getpid(), signal.SIGTERM)
            if not (stop.draining and len(said) == 1 and said[0].startswith("SIGTERM: finishing")):
                os._exit(3)
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(4)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with on_signals(Stop(), print):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("30s", 30), ("45", 45), ("1.5h", 5400), (" 5m ", 300)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "--max-time") == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "0h", "-5m", "5 m", "5d", "1h30m", "1e3", ".5h", "nan", "5M"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--grace"):
        parse_duration(text, "--grace")


NOW = datetime(2026, 5, 30, 22, 15, 30, tzinfo=datetime(2026, 5, 30).astimezone().tzinfo)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("23:00", timedelta(minutes=44, seconds=30)),
        ("6:00", timedelta(hours=7, minutes=44, seconds=30)),
        ("22:15", timedelta(hours=23, minutes=59, seconds=30)),
        ("2026-05-31T06:00", timedelta(hours=7, minutes=44, seconds=30)),
        ("2026-06-01 22:15:30", timedelta(days=2)),
    ],
)
def test_deadlines(text: str, expected: timedelta) -> None:
    assert parse_deadline(text, NOW) == expected.total_seconds()


def test_a_deadline_may_name_its_zone() -> None:
    now = datetime(2026, 5, 30, 20, 0, tzinfo=UTC)
    assert parse_deadline("2026-05-31T00:00+02:00", now) == 2 * 3600
    assert parse_deadline("2026-05-31T00:00+02:00", now.astimezone(timezone(timedelta(hours=-5)))) == 2 * 3600


@pytest.mark.parametrize("text", ["", "soon", "25:00", "6", "06:60", "2026-05-30T22:15", "2020-01-01T00:00"])
def test_what_is_no_deadline_or_past_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--deadline"):
        parse_deadline(text, NOW)
