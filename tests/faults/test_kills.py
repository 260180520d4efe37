"""Killed at any moment, a run goes on where it was: run by `make soak`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

import pytest
from recordings import store

from exdiff_cli.engine import PUBLISH_BACKLOG
from exdiff_cli.errors import UsageError
from exdiff_cli.manifest import Manifest, Row, State
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.report.sidecar import read_sidecar, sidecar_path

pytestmark = pytest.mark.soak

KILLS = 200
RECORDINGS = 60
BATCH = 1
"""A batch that the kill left smaller than it would have been rounds differently, by one step of the format."""

IN_HAND = 4 * BATCH + PUBLISH_BACKLOG + 1
"""Short recordings that may be begun and not committed: decoded ahead, in the models, and waiting to be published."""

TIMINGS = {"seconds", "real_time_factor"}
TESTS = Path(__file__).parents[1]


class Server:
    """Starts runs of ``source`` in processes that are ready to go."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, out: Path, kill_after: float | None = None) -> int:
        """How the run into ``out`` ended: its exit code, or -9."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{out}\n")
        self._process.stdin.flush()
        child = int(self._answer())
        killer = Timer(kill_after or 0.0, self._kill, [child])
        if kill_after is not None:
            killer.start()
        code = int(self._answer())
        killer.cancel()
        return code

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @staticmethod
    def _kill(child: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@contextmanager
def serving(bundle: Path, source: Path) -> Iterator[Server]:
    command = [sys.executable, str(TESTS / "faults" / "kill_server.py"), str(bundle), str(source), str(BATCH)]
    path = os.pathsep.join([str(TESTS), *sys.path])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


def audio_of(out: Path) -> dict[str, str]:
    """Hashes of what lies under final names."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in out.glob("*.wav")}


def reports_of(out: Path) -> dict[str, dict[str, Any]]:
    """All that the reports say, but for timings and where the output folder lies."""
    found = {path.name: read_sidecar(sidecar_path(path)).model_dump(exclude=TIMINGS) for path in out.glob("*.wav")}
    for report in found.values():
        del report["output"]["path"]
    return found


def rows_of(out: Path) -> dict[str, Row]:
    """The manifest as a killed run left it; nothing where it was not begun yet."""
    try:
        with Manifest.open(out, read_only=True) as manifest:
            return {row.relative.name: row for row in manifest.rows()}
    except UsageError:
        return {}


class Round:
    """One output folder, from nothing to all done, through any number of kills."""

    def __init__(self, out: Path, whole: Path) -> None:
        self.out, self.whole = out, whole
        self.in_hand: list[int] = []
        self._audio = audio_of(whole)
        self._rows: dict[str, Row] = {}
        self._interrupted: Counter[str] = Counter()

    def killed(self) -> None:
        """What is there is whole, and what was done before was not touched."""
        assert audio_of(self.out).items() <= self._audio.items()
        rows = rows_of(self.out)
        for name, row in self._rows.items():
            assert row.state is not State.DONE or rows[name] == row
        running = [name for name, row in rows.items() if row.state is State.RUNNING and self._is_new(row)]
        assert len(running) <= IN_HAND
        self._interrupted.update(running)
        self.in_hand.append(len(running))
        self._rows = rows

    def _is_new(self, row: Row) -> bool:
        """Whether it was begun since the kill before: this run may have been killed before it opened the manifest."""
        earlier = self._rows.get(row.relative.name)
        return earlier is None or row.attempts > earlier.attempts

    def ended(self) -> int:
        """All is there as if nothing had happened; returns how many recordings had to be begun again."""
        assert audio_of(self.out) == self._audio
        assert reports_of(self.out) == reports_of(self.whole)
        assert not list(self.out.rglob(TEMPORARY_GLOB))
        rows = rows_of(self.out)
        assert {row.state for row in rows.values()} == {State.DONE}
        assert {name: row.attempts - 1 for name, row in rows.items() if row.attempts > 1} == self._interrupted
        return self._interrupted.total()


def test_a_run_killed_at_random_moments(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(RECORDINGS):
        store(tmp_path / "in" / f"{number:02}.wav", 0.3 + 0.8 * number / RECORDINGS)
    out, whole, random = tmp_path / "out", tmp_path / "whole", Random(0)
    kills, rounds, again = 0, 0, 0
    in_hand: list[int] = []
    with serving(bundle_folder, tmp_path / "in") as server:
        began = time.monotonic()
        assert server.run(whole) == 0
        seconds = time.monotonic() - began
        while kills < KILLS:
            current = Round(out, whole)
            while (
                code := server.run(out, random.uniform(0, seconds / 3) if kills < KILLS else None)
            ) == -signal.SIGKILL:
                kills += 1
                current.killed()
            assert code == 0
            again, in_hand, rounds = again + current.ended(), in_hand + current.in_hand, rounds + 1
            shutil.rmtree(out)
    with capsys.disabled():
        print(
            f"\n{kills} kills in {rounds} rounds over {RECORDINGS} recordings of {seconds:.1f} s: "
            f"{again} begun again, {again / kills:.1f} a kill, at most {max(in_hand)} in hand"
        )
