"""When a run ends before its work does: on a signal, with grace for what is in hand, or at a deadline."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import FrameType

from exdiff_cli.errors import LateError, StoppedError, UsageError

GRACE_SECONDS = 30.0
FIRST_GUESS = 1.0
"""Real-time factor that is planned with until one was measured: slower than any machine that is of use."""

MEASURED_FROM = 5.0
"""Seconds of audio after which the measured speed is believed."""

MARGIN = 1.1
SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Stop:
    """Whether a run may take more work, and whether it must drop what it has; times by the monotonic clock.

    After a signal nothing new is taken, and what is in hand has ``grace`` seconds to finish. Before ``deadline`` only
    what will be finished by then is taken, and what was misjudged is dropped when it comes.
    """

    deadline: float | None = None
    grace: float = GRACE_SECONDS
    clock: Callable[[], float] = time.monotonic
    signal: signal.Signals | None = None
    _asked: float = field(default=0.0, repr=False)

    def ask(self, number: int) -> None:
        """A signal came: drain."""
        self.signal, self._asked = signal.Signals(number), self.clock()

    @property
    def draining(self) -> bool:
        """Nothing more is to be taken, however short it is."""
        return self.signal is not None or self._late

    def fits(self, seconds: float) -> bool:
        """Whether there is time for work of so many seconds."""
        return not self.draining and (self.deadline is None or self.clock() + seconds <= self.deadline)

    @property
    def over(self) -> bool:
        """Time is up: even what is in hand is to be dropped."""
        return self._late or (self.signal is not None and self.clock() >= self._asked + self.grace)

    def raise_if_draining(self) -> None:
        """For what waits before there is any work: StoppedError after a signal, LateError when time is up."""
        if self.signal is not None:
            raise StoppedError(self.signal)
        if self._late:
            raise LateError("no time is left; the same command begins the work")

    def raise_if_over(self) -> None:
        """For what takes long with one recording: AbandonedError once nothing may be waited for any more."""
        if self.over:
            raise AbandonedError

    @property
    def _late(self) -> bool:
        return self.deadline is not None and self.clock() >= self.deadline


class AbandonedError(Exception):
    """Work in hand was given up, as time is over; what it was for is put back."""


@dataclass
class Pace:
    """How long work takes, from how long it took: seconds of audio done since the first was taken on."""

    clock: Callable[[], float] = time.monotonic
    done: float = 0.0
    began: float | None = None
    _in_hand: dict[Hashable, float] = field(default_factory=dict)

    def take(self, work: Hashable, seconds: float) -> None:
        """Audio is taken on."""
        self.began = self.clock() if self.began is None else self.began
        self._in_hand[work] = seconds

    def finish(self, work: Hashable, seconds: float) -> None:
        """A part of it is done."""
        self.done += seconds
        if work in self._in_hand:
            self._in_hand[work] -= seconds

    def drop(self, work: Hashable) -> None:
        """The rest of it will not be done, or is no audio."""
        self._in_hand.pop(work, None)

    @property
    def factor(self) -> float:
        """Seconds of work a second of audio."""
        if self.began is None or not self.is_measured:
            return FIRST_GUESS
        return (self.clock() - self.began) / self.done

    @property
    def is_measured(self) -> bool:
        """Whether :attr:`factor` is more than a guess."""
        return self.began is not None and self.done >= MEASURED_FROM

    def seconds_for(self, seconds: float) -> float:
        """How long until audio of so many seconds would be done too, after what is in hand."""
        # Another thread may take work on meanwhile; a list of the values is made at once.
        return MARGIN * self.factor * (sum(list(self._in_hand.values())) + seconds)


@contextmanager
def on_signals(stop: Stop, say: Callable[[str], object]) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks ``stop`` to drain; the second ends the process by that signal at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.ask(number)
        name = signal.Signals(number).name
        say(f"{name}: finishing what is in hand, at most {stop.grace:.0f} s; once more stops at once")

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def parse_duration(text: str, option: str) -> float:
    """``90m``, ``2h``, ``30s`` or plain seconds; :class:`UsageError` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{option} {text}: give a time such as 90m, 2h or 5400s")
    return float(match[1]) * UNITS[match[2]]


def parse_deadline(text: str, now: datetime) -> float:
    """Seconds from ``now`` until the next such time of day, ``06:00``, or a date with time, ``2026-05-31T06:00``.

    Local time, unless a zone is given. :class:`UsageError` for anything else, and for what is past.
    """
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            local = now.replace(tzinfo=None)
            wanted = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
            wanted += timedelta(days=wanted <= local)
        else:
            wanted = datetime.fromisoformat(text)
        # Made a moment here, so that the clocks' change on the way counts.
        wanted = wanted if wanted.tzinfo else wanted.astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--deadline {text}: give a time of day, 06:00, or a date too, 2026-05-31T06:00") from error
    if wanted <= now:
        raise UsageError(f"--deadline {text}: is past")
    return (wanted - now).total_seconds()
