"""An evaluation as tables for people and as JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich import box
from rich.table import Table

from exdiff_cli.scores import Mean, Scores, System

NAMES = {
    "pesq": "PESQ-WB",
    "estoi": "ESTOI",
    "si_sdr": "SI-SDR",
    "si_sir": "SI-SIR",
    "si_sar": "SI-SAR",
    "voice": "voice",
    "per": "PER",
}
FIDELITY = ("estoi", "si_sdr", "si_sir", "si_sar", "pause", "invented", "voice", "per")
HEADLINE = ("pesq", "ovrl", "si_sdr")
TAGS = ("snr", "noise", "channel")
ABREAST = 4
"""Measures side by side, so that a table fits into 80 columns."""


def heading(measure: str) -> str:
    """How a measure is called in tables."""
    return NAMES.get(measure, measure.upper())


def score_tables(scores: Scores) -> Iterator[Table]:
    """Means with intervals, gains over Extract, and the headline measures by each tag that tells pairs apart."""
    groups = [
        *_abreast("quality", [name for name in scores.measures if name not in FIDELITY]),
        *_abreast("fidelity", [name for name in scores.measures if name in FIDELITY]),
    ]
    for title, measures in groups:
        yield _means(scores, measures, f"{title}, mean of {scores.pairs} pairs")
    for title, measures in groups:
        yield _gains(scores, measures, title)
    for tag in TAGS:
        if len(scores.tag_values(tag)) > 1:
            yield from (_by_tag(scores, tag, name) for name in HEADLINE if name in scores.measures)


def _abreast(title: str, measures: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    for first in range(0, len(measures), ABREAST):
        yield title, measures[first : first + ABREAST]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")  # Half a figure would be none.
    return table


def _means(scores: Scores, measures: Sequence[str], title: str) -> Table:
    table = _table(title, [heading(name) for name in measures])
    for system in scores.systems:
        table.add_row(system.label, *(_spread(scores.mean(system, name)) for name in measures))
    return table


def _spread(mean: Mean | None) -> str:
    if mean is None:
        return "-"
    return f"{mean.value:.3f} ±{(mean.high - mean.low) / 2:.2f}"


def _gains(scores: Scores, measures: Sequence[str], title: str) -> Table:
    base = scores.systems[1]
    title = f"{title}, gain over {base.label}, paired, 95 % interval"
    table = _table(title, [heading(name) for name in measures])
    for system in scores.systems[2:]:
        gains = (scores.gain(system, base, name) for name in measures)
        table.add_row(
            system.label,
            *("-" if gain is None else f"{gain.value:+.3f}\n{gain.low:+.2f} {gain.high:+.2f}" for gain in gains),
        )
    return table


def compared_by_tag(scores: Scores) -> list[System]:
    """Noisy input, Extract, and the last system, which is Ex-Diff at its most steps."""
    return [*scores.systems[:2], *scores.systems[2:][-1:]]


def _by_tag(scores: Scores, tag: str, measure: str) -> Table:
    systems = compared_by_tag(scores)
    table = _table(f"{heading(measure)} by {tag}", [system.label for system in systems])
    for value in scores.tag_values(tag):
        part = scores.only(tag, value)
        means = (part.average(system, measure) for system in systems)
        table.add_row(f"{value} ({part.pairs})", *("-" if mean is None else f"{mean:.2f}" for mean in means))
    return table


def scores_json(scores: Scores) -> dict[str, object]:
    """All figures as plain values: a system's means under their names, beside them intervals, gains and rows."""
    return {
        "message_type": "evaluation",
        "pairs": scores.pairs,
        "systems": [_system_json(scores, system) for system in scores.systems],
        "by": {
            tag: {value: _means_by_system(scores.only(tag, value)) for value in scores.tag_values(tag)} for tag in TAGS
        },
        "rows": list(_flat_rows(scores)),
    }


def _system_json(scores: Scores, system: System) -> dict[str, object]:
    means = {name: scores.mean(system, name) for name in scores.measures}
    base = scores.systems[1]
    gains = {} if system == base else {name: scores.gain(system, base, name) for name in scores.measures}
    return {
        "system": system.name,
        "steps": system.steps,
        **{name: mean.value if mean else None for name, mean in means.items()},
        "intervals": {name: [mean.low, mean.high] for name, mean in means.items() if mean},
        "gain_over_extract": {name: asdict(gain) for name, gain in gains.items() if gain},
    }


def _means_by_system(scores: Scores) -> dict[str, dict[str, float | None]]:
    return {system.label: {name: scores.average(system, name) for name in scores.measures} for system in scores.systems}


def _flat_rows(scores: Scores) -> Iterator[dict[str, object]]:
    for row in scores.rows:
        yield {"pair": row.pair, "system": row.system.name, "steps": row.system.steps, **row.tags, **row.measures}


def scores_csv(scores: Scores) -> str:
    """A line a pair and system."""
    rows = list(_flat_rows(scores))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
