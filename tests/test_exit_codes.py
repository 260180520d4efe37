"""Every exit code, by the command that is installed: the contract as a cron job sees it.

Code 6 of `adapt` takes a training and is held by tests/test_cli.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import make_bundle
from recordings import store
from tampering import flip

from exdiff_cli.errors import UsageError
from exdiff_cli.lock import locked
from exdiff_cli.manifest import Manifest, State
from exdiff_cli.report.sidecar import sidecar_path

EXDIFF = Path(sys.executable).with_name("exdiff")
STARTS = 50
UNFORESEEN = "def loads(text):\n    raise RuntimeError('unforeseen')\nload = loads\nTOMLDecodeError = ValueError\n"

pytestmark = pytest.mark.skipif(not EXDIFF.is_file(), reason=f"the command is not installed beside {sys.executable}")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    store(tmp_path / "calls" / "a.wav", 1.0)
    return tmp_path / "calls"


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [str(EXDIFF), *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, **environment}, **streams)  # type: ignore[call-overload]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr, which never holds a traceback."""
    with process:
        _, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, err


def enhance(*arguments: object, bundle: Path, **environment: str) -> tuple[int, str]:
    return ended(start("enhance", *arguments, "--bundle", bundle, "--steps", 0, "--quiet", **environment))


def wait_until_begun(out: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with Manifest.open(out, read_only=True) as manifest:
                if manifest.counts()[State.RUNNING]:
                    return
        except UsageError:
            pass
        time.sleep(0.1)
    raise TimeoutError(out)


def test_all_done_is_zero(calls: Path, bundle_folder: Path) -> None:
    assert enhance(calls, bundle=bundle_folder) == (0, "")


def test_what_nobody_foresaw_is_one(calls: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """A standard module that fails in a way it never does."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tomllib.py").write_text(UNFORESEEN)
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    code, err = enhance(calls, bundle=bundle_folder, PYTHONPATH=path)
    assert code == 1
    assert err == "exdiff: internal error: RuntimeError: unforeseen; please report it\n"


def test_not_to_be_trusted_is_six(calls: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", loud=True)
    code, err = ended(start("enhance", calls, "--bundle", bundle, "--steps", 1, "--on-risk", "fail", "--quiet"))
    assert code == 6
    assert "a.wav: " in err
    assert "use --on-risk fallback" in err
    assert not (calls.with_name("calls-enhanced") / "a.wav").exists()


def test_short_of_a_gate_is_six_and_all_results_are_there(calls: Path, bundle_folder: Path) -> None:
    gate = ("enhance", calls, "--bundle", bundle_folder, "--steps", 0, "--quiet", "--min-ovrl")
    code, err = ended(start(*gate, 4.9))
    assert code == 6
    assert err.startswith("failed: --min-ovrl 4.9: the mean overall opinion of ")
    assert (calls.with_name("calls-enhanced") / "a.wav").exists()
    assert ended(start(*gate, 4.9))[0] == 6  # what was done before counts
    assert ended(start(*gate, 0.5)) == (0, "")


@pytest.mark.parametrize("command", [("status",), ("verify",), ("manifest", "export"), ("status", "--json")])
def test_a_reader_that_goes_away_is_sigpipe(calls: Path, bundle_folder: Path, command: tuple[str, ...]) -> None:
    enhance(calls, bundle=bundle_folder)
    process = start(*command, calls.with_name("calls-enhanced"))
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process:
        assert process.stderr.read() == ""
        assert process.wait(60) == 128 + signal.SIGPIPE


def test_a_stdout_that_takes_nothing_is_three(calls: Path, bundle_folder: Path) -> None:
    enhance(calls, bundle=bundle_folder)
    with open("/dev/full", "w") as full:
        command = [str(EXDIFF), "status", str(calls.with_name("calls-enhanced"))]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, "Traceback" in found.stderr) == (3, False)
    assert found.stderr.startswith("exdiff: stdout: cannot be written (No space left on device)")


def test_a_stdout_of_few_characters_is_no_error(calls: Path, bundle_folder: Path) -> None:
    """The table of a run has an arrow in it."""
    command = ["enhance", calls, "--bundle", bundle_folder, "--steps", 0]
    process = start(*command, PYTHONIOENCODING="latin-1")
    with process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert "\\u2192" in out


def test_a_wrong_call_is_two(tmp_path: Path) -> None:
    code, err = ended(start("enhance", tmp_path / "nowhere"))
    assert (code, len(err.splitlines())) == (2, 1)


def test_a_recording_that_fails_is_three(calls: Path, bundle_folder: Path) -> None:
    (calls / "empty.wav").touch()
    code, err = enhance(calls, bundle=bundle_folder)
    assert code == 3
    assert err.startswith(f"failed: {calls / 'empty.wav'}: is empty")


def test_tampering_is_three_and_what_is_not_ours_four(calls: Path, bundle_folder: Path) -> None:
    out = calls.with_name("calls-enhanced")
    enhance(calls, bundle=bundle_folder)
    assert [ended(start(*call))[0] for call in (("verify", out), ("inspect", out / "a.wav"))] == [0, 0]
    assert ended(start("inspect", calls / "a.wav"))[0] == 4
    assert ended(start("inspect", calls / "nowhere.wav"))[0] == 2
    report = sidecar_path(out / "a.wav")
    report.write_text(report.read_text().replace("0.1.0", "9.1.0"))
    assert ended(start("verify", out))[0] == 3
    flip(out / "a.wav", 1_000)
    assert ended(start("inspect", out / "a.wav"))[0] == 3


def test_a_key_that_is_none_is_two_and_begins_nothing(calls: Path, bundle_folder: Path) -> None:
    pytest.importorskip("cryptography", reason="needs the extra `sign`")
    code, err = enhance(calls, "--sign-key", calls / "a.wav", bundle=bundle_folder)
    assert (code, len(err.splitlines())) == (2, 1)
    assert not calls.with_name("calls-enhanced").exists()


def test_no_input_is_four(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    code, err = ended(start("enhance", tmp_path / "in"))
    assert code == 4
    assert "no recordings found" in err


def test_no_time_is_five(calls: Path, bundle_folder: Path) -> None:
    code, err = enhance(calls, "--max-duration", "0.001s", bundle=bundle_folder)
    assert code == 5
    assert "no time: 1 left to do; go on with: " in err


def test_a_held_folder_is_seventy_five(calls: Path, bundle_folder: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        code, err = enhance(calls, "-o", tmp_path / "out", bundle=bundle_folder)
    assert code == 75
    assert "another run is writing there" in err


def test_a_signal_is_its_number_and_128(bundle_folder: Path, tmp_path: Path) -> None:
    store(tmp_path / "in" / "long.wav", 600.0)
    process = start("enhance", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle_folder, "--grace", "0.01s")
    wait_until_begun(tmp_path / "out")
    process.send_signal(signal.SIGTERM)
    code, err = ended(process)
    assert code == 128 + signal.SIGTERM
    assert "SIGTERM: 1 left to do; go on with: " in err


@pytest.mark.soak
def test_of_fifty_simultaneous_starts_one_wins(bundle_folder: Path, tmp_path: Path) -> None:
    """The winner has an hour to do, so that it is at it until the last of the others has come."""
    store(tmp_path / "in" / "long.wav", 3600.0)
    options = ("-o", tmp_path / "out", "--bundle", bundle_folder, "--steps", 50, "--grace", "0.01s")
    running = [start("enhance", tmp_path / "in", *options) for _ in range(STARTS)]
    codes = []
    while len(running) > 1:
        time.sleep(0.1)
        for process in [process for process in running if process.poll() is not None]:
            running.remove(process)
            codes.append(ended(process)[0])
    assert codes == [75] * (STARTS - 1)
    (winner,) = running
    wait_until_begun(tmp_path / "out")
    winner.send_signal(signal.SIGTERM)
    assert ended(winner)[0] == 128 + signal.SIGTERM
