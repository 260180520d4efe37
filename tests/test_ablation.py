"""The tables in docs/quality.md are made of an evaluation's scores by docs/ablation.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exdiff_cli.evaluate import EXTRACT, NOISY
from exdiff_cli.report.score_tables import scores_csv
from exdiff_cli.scores import Row, Scores, System

SCRIPT = Path(__file__).parent.parent / "docs" / "ablation.py"
MEASURES = ("pesq", "estoi", "si_sdr", "si_sir", "ovrl", "pause", "invented")
PESQ = {NOISY.name: 1.0, EXTRACT.name: 2.0, "ex-diff": 9.0, "neither-1": 2.0, "neither-2": 2.0}
PESQ |= {"estimate-1": 2.1, "estimate-2": 2.3, "latents-1": 1.9, "latents-2": 1.9, "both-1": 2.5, "both-2": 2.7}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Rows of all tables by their first cell."""
    path = tmp_path_factory.mktemp("ablation") / "scores.csv"
    systems = [System(name) for name in PESQ]
    rows = [
        Row(pair, {}, system, dict.fromkeys(MEASURES, PESQ[system.name] + lift) | {"invented": None})
        for system in systems
        for pair, lift in (("a", 0.0), ("b", 0.5))
    ]
    path.write_text(scores_csv(Scores(rows, systems, MEASURES)))
    command = [sys.executable, str(SCRIPT), str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        first, *cells = [cell.strip() for cell in line.strip("| ").split("|")]
        found.setdefault(first, []).append(cells[0] if cells else "")
    return found


def test_means_are_over_seeds_and_mixtures(tables: dict[str, list[str]]) -> None:
    assert tables["Extract"] == ["2.250"]
    assert tables["Diffuse, estimate"] == ["2.450"]
    assert tables["Ex-Diff: both"] == ["2.850"]


def test_differences_are_paired_and_bold_where_there_is_one(tables: dict[str, list[str]]) -> None:
    assert tables["Ex-Diff: both - Extract"][0] == "**+0.600** (+0.60 to +0.60)"
    assert tables["Diffuse, latents - Diffuse alone"][0] == "**-0.100** (-0.10 to -0.10)"
    assert tables["Diffuse alone - Extract"][0] == "+0.000 (+0.00 to +0.00)"


def test_seeds_are_shown_apart(tables: dict[str, list[str]]) -> None:
    assert tables["Ex-Diff: both - Diffuse, estimate"][1] == "+0.400, +0.400"
    assert tables["Diffuse, estimate - Extract"][1] == "+0.100, +0.300"
