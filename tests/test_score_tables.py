"""Evaluations as tables, JSON and CSV: every figure is there, and says of what."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console
from test_scores import EXTRACT, scores

from exdiff_cli.measures.against_clean import GROUPS, measure_names
from exdiff_cli.report.score_tables import heading, score_tables, scores_csv, scores_json
from exdiff_cli.scores import Row, Scores, System


def printed(given: Scores) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    for table in score_tables(given):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_tell_means_gains_and_parts() -> None:
    text = printed(scores())
    assert "quality, mean of 3 pairs" in text
    assert "fidelity, mean of 3 pairs" in text
    assert "gain over extract" in text
    assert "+0.500" in text
    assert "PESQ-WB by snr" in text
    assert "PESQ-WB by noise" in text
    assert "by channel" not in text
    assert "bus (2)" in text


def test_every_figure_fits_into_eighty_columns() -> None:
    names = measure_names(GROUPS)
    systems = [System("noisy"), System("extract"), System("diffuse, latents dropped", 4), System("ex-diff", 16)]
    rows = [
        Row(f"{pair}.wav", {}, system, dict.fromkeys(names, -12.345 - pair + number))
        for pair in range(3)
        for number, system in enumerate(systems)
    ]
    text = printed(Scores(rows, tuple(systems), names))
    assert text.count("-13.345 ±") == text.count("-11.345 ±") == len(names)
    assert text.count("+2.000") == text.count("+1.000") == len(names)
    assert text.count("+2.00 +2.00") == len(names)
    assert "…" not in text


def test_json_holds_every_figure() -> None:
    found = json.loads(json.dumps(scores_json(scores())))
    assert found["pairs"] == 3
    exdiff = found["systems"][2]
    assert (exdiff["system"], exdiff["steps"], exdiff["pesq"], exdiff["estoi"]) == ("ex-diff", 4, 2.5, 0.5)
    assert exdiff["gain_over_extract"]["pesq"] == {"value": 0.5, "low": 0.5, "high": 0.5, "count": 3}
    low, high = exdiff["intervals"]["pesq"]
    assert low < 2.5 < high
    assert found["by"]["noise"]["bus"][EXTRACT.label]["pesq"] == 2.5
    assert len(found["rows"]) == 9


def test_csv_has_a_line_a_pair_and_system() -> None:
    rows = list(csv.DictReader(io.StringIO(scores_csv(scores()))))
    assert len(rows) == 9
    assert rows[2] == {
        "pair": "0.wav",
        "system": "ex-diff",
        "steps": "4",
        "snr": "10",
        "noise": "rain",
        "pesq": "1.5",
        "estoi": "0.5",
    }
    assert rows[3]["estoi"] == ""


@pytest.mark.parametrize(("measure", "shown"), [("pesq", "PESQ-WB"), ("si_sir", "SI-SIR"), ("csig", "CSIG")])
def test_headings(measure: str, shown: str) -> None:
    assert heading(measure) == shown
