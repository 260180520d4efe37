"""How far long work is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any

from tqdm import tqdm

from exdiff_cli import logs
from exdiff_cli.audio.recording import Recording
from exdiff_cli.engine import Outcome
from exdiff_cli.jobs import Job
from exdiff_cli.stopping import MEASURED_FROM

log = logging.getLogger(__name__)

LINE_SECONDS = 30.0
BAR_SECONDS = 0.2
BAR = "{desc} {percentage:.0f}% |{bar}|{postfix}"


@dataclass
class Tally:
    """How far a run is, from what it tells; lengths not known yet are taken for the mean of those that are.

    Times are seconds by ``clock``; the audio of what failed counts neither as begun nor as left.
    """

    clock: Callable[[], float] = time.monotonic
    pending: int | None = None
    before: int = 0
    done: int = 0
    failed: int = 0
    audio_done: float = 0.0
    began_at: float | None = None
    _begun: int = 0
    _begun_audio: float = 0.0
    _in_hand: dict[Path, float] = field(default_factory=dict)

    def begin(self, job: Job, recording: Recording) -> None:
        self.began_at = self.clock() if self.began_at is None else self.began_at
        self._in_hand[job.relative] = recording.seconds
        self._begun += 1
        self._begun_audio += recording.seconds

    def end(self, outcome: Outcome) -> None:
        audio = self._in_hand.pop(outcome.job.relative, None)
        if outcome.skipped:
            self.before += 1
        elif outcome.error is None:
            self.done += 1
        else:
            self.failed += 1
            if audio is not None:
                self._begun -= 1
                self._begun_audio -= audio

    @property
    def audio_total(self) -> float:
        """Seconds of audio that there are to do; zero while nothing is known of it."""
        if not self._begun or self.pending is None:
            return 0.0
        unseen = self.pending - self.failed - self._begun
        return max(self.audio_done, self._begun_audio * (1 + unseen / self._begun))

    @property
    def speed(self) -> float | None:
        """Seconds of audio a second; None until it can be believed."""
        if self.began_at is None or self.audio_done < MEASURED_FROM:
            return None
        return self.audio_done / max(self.clock() - self.began_at, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        return (self.audio_total - self.audio_done) / self.speed if self.speed else None

    def in_words(self, now: datetime) -> str:
        """``12 of 340 recordings, 1 failed, 1.30 h of audio, 7.9 x real time, done about 06:40``."""
        if self.pending is None:
            return f"{self.before} were done before"
        parts = [f"{self.done} of {self.pending} recordings", f"{self.audio_done / 3600:.2f} h of audio"]
        if self.failed:
            parts.insert(1, f"{self.failed} failed")
        if self.speed is not None and self.seconds_left is not None:
            ends = now + timedelta(seconds=self.seconds_left)
            day = "" if ends.date() == now.date() else f"{ends:%Y-%m-%d} "
            parts += [f"{self.speed:.1f} x real time", f"done about {day}{ends:%H:%M}"]
        return ", ".join(parts)

    def as_fields(self) -> dict[str, Any]:
        """The same for programs."""
        left = self.seconds_left
        return {
            "recordings_done": self.done,
            "recordings_failed": self.failed,
            "recordings_total": self.pending,
            "audio_hours": round(self.audio_done / 3600, 4),
            "speed": None if self.speed is None else round(self.speed, 2),
            "seconds_left": None if left is None else round(left),
        }


class Progress:
    """Shows the tally of one run; a context manager, and safe to tell from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.tally = Tally(clock)
        self._clock, self._lock = clock, RLock()
        self._bar = tqdm(desc="enhancing", bar_format=BAR, leave=False, dynamic_ncols=True, disable=logs.no_bar())
        self._next = clock() + self._interval

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def planned(self, pending: int, total: int) -> None:
        with self._lock:
            self.tally.pending = pending
            self._show()

    def began(self, job: Job, recording: Recording) -> None:
        with self._lock:
            self.tally.begin(job, recording)
            self._show()

    def advanced(self, seconds: float) -> None:
        with self._lock:
            self.tally.audio_done += seconds
            self._show()

    def ended(self, outcome: Outcome) -> None:
        with self._lock:
            self.tally.end(outcome)
            self._show()

    @property
    def _interval(self) -> float:
        return LINE_SECONDS if self._bar.disable else BAR_SECONDS

    def _show(self) -> None:
        if self._clock() < self._next:
            return
        self._next = self._clock() + self._interval
        words = self.tally.in_words(datetime.now().astimezone())
        if self._bar.disable:
            log.info("%s", words, extra=logs.fields(**self.tally.as_fields()))
        else:
            self._bar.total, self._bar.n = self.tally.audio_total or None, self.tally.audio_done
            self._bar.set_postfix_str(words)
