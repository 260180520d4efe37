"""Slow proofs with the shipped bundle, run by `make soak`; those of faults and kills are in tests/faults."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.soak

EXDIFF = [sys.executable, "-c", "from exdiff_cli.cli import main; main()"]


def test_memory_does_not_grow_with_length() -> None:
    """Half an hour takes at most a tenth more memory than two minutes, and less than 2 GiB."""
    peaks = {}
    for seconds in (120, 1800):
        done = subprocess.run(
            [*EXDIFF, "bench", "--json", "--seconds", str(seconds), "--steps", "1"],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[seconds] = json.loads(done.stdout)["peak_memory_mib"]
    assert peaks[1800] < 1.1 * peaks[120]
    assert peaks[1800] < 2048
