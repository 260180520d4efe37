"""Mutated recordings of every format end one by one, done or refused in a line: no crash, no hang, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
SECONDS_EACH = 2.0


def fuzz(bundle: Path, work: Path, count: int, seed: int) -> dict[str, int]:
    """How many ended in which way; fails where the process crashed, hung or ran out of memory."""
    command = [sys.executable, "-X", "faulthandler", str(TESTS / "faults" / "enhance_mutants.py")]
    environment = {"PYTHONPATH": f"{TESTS}:{TESTS / 'faults'}", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [*command, str(bundle), str(work), str(count), str(seed)],
        capture_output=True,
        text=True,
        timeout=120 + SECONDS_EACH * count,
        env=environment,
        cwd=TESTS.parent,
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert ended.returncode == 0, f"{lines[-1:]}\n{ended.stderr[-3000:]}"
    internal = [line for line in lines if "internal" in line]
    assert not internal
    return lines[-1]["ends"]


def test_a_few_mutations(bundle_folder: Path, tmp_path: Path) -> None:
    ends = fuzz(bundle_folder, tmp_path / "work", 60, seed=1)
    assert ends["done"] + ends["refused"] == 60
    assert ends["refused"] > 10
    assert ends["done"] > 5


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3, 4, 5, 6])
def test_many_mutations(bundle_folder: Path, tmp_path: Path, seed: int) -> None:
    ends = fuzz(bundle_folder, tmp_path / "work", 500, seed)
    print(f"seed {seed}: {ends}")
    assert ends["done"] + ends["refused"] == 500
