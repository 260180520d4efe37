"""The curve in docs/quality.md is made of an evaluation and of benchmarks by docs/steps.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from exdiff_cli.evaluate import EXTRACT, NOISY
from exdiff_cli.report.score_tables import scores_csv
from exdiff_cli.scores import Row, Scores, System

SCRIPT = Path(__file__).parent.parent / "docs" / "steps.py"
MEASURES = ("pesq", "estoi", "si_sdr", "si_sir", "ovrl", "pause")
PESQ = {NOISY: 1.0, EXTRACT: 2.0, System("ex-diff", 1): 2.25, System("ex-diff", 8): 2.125, System("no-latents", 1): 9.0}


def test_each_number_of_steps_has_its_time_and_its_gain(tmp_path: Path) -> None:
    rows = [
        Row(pair, {}, system, dict.fromkeys(MEASURES, pesq + lift))
        for system, pesq in PESQ.items()
        for pair, lift in (("a", 0.0), ("b", 0.5))
    ]
    (tmp_path / "scores.csv").write_text(scores_csv(Scores(rows, list(PESQ), MEASURES)))
    speeds = {0: 0.03, 1: 0.05, 8: 0.3}
    for steps, factor in speeds.items():
        (tmp_path / f"{steps}.json").write_text(json.dumps({"steps": steps, "real_time_factor": factor}))
    benches = [tmp_path / f"{steps}.json" for steps in (8, 0, 1)]
    command = [sys.executable, SCRIPT, tmp_path / "scores.csv", *benches, "--plot", tmp_path / "steps.png"]
    printed = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in printed if line}
    assert cells["means of 2 mixtures"][1] == "PESQ-WB"
    assert [cells[name][:2] for name in ("noisy", "extract", "ex-diff, 1 step", "ex-diff, 8 steps")] == [
        ["", "1.250 (1.00 to 1.50)"],
        ["0.030", "2.250 (2.00 to 2.50)"],
        ["0.050", "2.500 (2.25 to 2.75)"],
        ["0.300", "2.375 (2.12 to 2.62)"],
    ]
    assert cells["ex-diff, 1 step - extract"][0] == "+0.250 (+0.25 to +0.25)"
    assert cells["ex-diff, 8 steps - ex-diff, 1 step"][0] == "-0.125 (-0.12 to -0.12)"
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
