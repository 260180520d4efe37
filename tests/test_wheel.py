"""The wheel carries the models: installed elsewhere, exdiff enhances a recording. Run by `make soak`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[1]
MAIN = "import sys, exdiff_cli.cli as cli; print(cli.__file__, file=sys.stderr); cli.main()"


def test_an_installed_wheel_enhances_a_recording_without_the_checkout(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    recording = shutil.copy(Path(__file__).parent / "data" / "noisy.wav", tmp_path / "call.wav")
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "enhance", recording, "-o", tmp_path / "out", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith(str(site))
    assert json.loads(done.stdout.splitlines()[-1])["message_type"] == "summary"
    made, given = (soundfile.info(path) for path in (tmp_path / "out" / "call.wav", recording))
    assert (made.frames, made.samplerate, made.subtype) == (given.frames, given.samplerate, given.subtype)
