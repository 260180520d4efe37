"""The lock: one run an output folder, and none left behind by a killed one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exdiff_cli.errors import LateError, LockedError, StoppedError, UsageError
from exdiff_cli.lock import locked
from exdiff_cli.stopping import Stop

HOLDER = """
import sys, time
from pathlib import Path
from exdiff_cli.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        with pytest.raises(LockedError, match="another run"), locked(tmp_path / "out"):
            pass
        with locked(tmp_path / "elsewhere"):
            pass
    with locked(tmp_path / "out"):
        pass


def test_an_error_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path):
        pass


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"), locked(tmp_path / "file" / "out"):
        pass


def test_parts_are_held_side_by_side_and_each_by_one(tmp_path: Path) -> None:
    with locked(tmp_path, "shard-1-of-2"), locked(tmp_path, "shard-2-of-2"):
        with pytest.raises(LockedError), locked(tmp_path, "shard-2-of-2"):
            pass
        with pytest.raises(LockedError), locked(tmp_path):
            pass
    with locked(tmp_path), pytest.raises(LockedError), locked(tmp_path, "shard-1-of-2"):
        pass


def test_waits_for_the_other_to_be_done(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        threading.Timer(0.5, holder.kill).start()
        with locked(tmp_path, wait=30.0):
            assert holder.wait() != 0


def test_waiting_ends_in_time_or_when_told(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(LockedError), locked(tmp_path, wait=0.3):
            pass
        stop = Stop()
        stop.ask(signal.SIGTERM)
        with pytest.raises(StoppedError) as stopped, locked(tmp_path, wait=3600.0, waiting=stop.raise_if_draining):
            pass
        assert stopped.value.exit_code == 128 + signal.SIGTERM
        with pytest.raises(LateError), locked(tmp_path, wait=3600.0, waiting=Stop(deadline=0.0).raise_if_draining):
            pass


STARTS = """
import os, sys
from pathlib import Path
from exdiff_cli.errors import LockedError
from exdiff_cli.lock import locked

def start(go, end):
    os.read(go, 1)
    try:
        with locked(Path(sys.argv[1])):
            os.read(end, 1)
    except LockedError as error:
        os._exit(error.exit_code)
    os._exit(0)

(go, say_go), (end, say_end) = os.pipe(), os.pipe()
for _ in range(50):
    if not os.fork():
        os.close(say_go), os.close(say_end)
        start(go, end)
os.close(say_go)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(49)]
os.close(say_end)
print(*codes, os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_of_fifty_simultaneous_starts_one_wins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert [int(code) for code in ended.stdout.split()] == [75] * 49 + [0]
