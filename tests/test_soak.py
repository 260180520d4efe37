"""Slow proofs with the shipped bundle, run by `make soak`: long recordings, and kills at random moments."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import samples_of, store

pytestmark = pytest.mark.soak

EXDIFF = [sys.executable, "-c", "from exdiff_cli.cli import main; main()"]
RECORDINGS = 6


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


def test_a_run_killed_again_and_again_ends_with_the_same_results(tmp_path: Path) -> None:
    tree = tmp_path / "calls"
    for number in range(RECORDINGS):
        store(tree / f"call{number}.wav", seconds=12 + number)
    subprocess.run([*EXDIFF, "enhance", str(tree), "-o", str(tmp_path / "whole")], capture_output=True, check=True)
    command = [*EXDIFF, "enhance", str(tree), "-o", str(tmp_path / "out")]
    generator = random.Random(0)
    for _ in range(8):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=generator.uniform(2, 12))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run(command, capture_output=True, check=True)
    assert not list((tmp_path / "out").rglob(".exdiff-*.part"))
    for number in range(RECORDINGS):
        name = f"call{number}.wav"
        whole, resumed = (samples_of(tmp_path / folder / name) for folder in ("whole", "out"))
        np.testing.assert_allclose(resumed, whole, rtol=0, atol=1e-4)
