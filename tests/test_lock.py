"""The lock: one run an output folder, and none left behind by a killed one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exdiff_cli.errors import LockedError, UsageError
from exdiff_cli.lock import locked

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
