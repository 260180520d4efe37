"""Models that packages carry: what runs them tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exdiff_cli.errors import UsageError
from exdiff_cli.measures.packaged import onnx_session, packaged_file

SCRIPT = """
import time, numpy
from exdiff_cli.measures.activity import activity
activity(numpy.zeros(16_000, numpy.float32))
time.sleep(0.5)
"""


def test_nothing_is_sent_and_nothing_is_left(tmp_path: Path) -> None:
    """Left to itself, onnxruntime 1.29 and later keep an identifier, a database of events and a file in TMPDIR."""
    places = {name: tmp_path / name for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    given = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    subprocess.run([sys.executable, "-c", SCRIPT], env={**given, **{k: str(v) for k, v in places.items()}}, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_not_installed_is_no_file() -> None:
    assert packaged_file("no_such_package_anywhere", "model.onnx") is None


def test_what_lacks_is_said() -> None:
    with pytest.raises(UsageError, match="dreams needs the model in the package no_such_package: pip install it"):
        onnx_session("dreams", "no_such_package", "model.onnx", "pip install it", 1)
    with pytest.raises(UsageError, match="is missing: reinstall the package silero_vad"):
        onnx_session("dreams", "silero_vad", "no_model.onnx", "pip install it", 1)
