"""Tables of an ablation, as Markdown: python docs/ablation.py SCORES.csv, which `exdiff evaluate --csv` wrote.

Systems that are called VARIANT-SEED are averaged over their seeds, mixture by mixture; intervals are over mixtures.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import fmean

from exdiff_cli.evaluate import EXTRACT, NOISY
from exdiff_cli.report.score_tables import heading
from exdiff_cli.scores import Mean, Row, Scores, System

MEASURES = ("pesq", "estoi", "si_sdr", "si_sir", "ovrl", "pause", "invented")
NEITHER, ESTIMATE, LATENTS, BOTH = (System(name) for name in ("neither", "estimate", "latents", "both"))
NAMES = {
    NOISY: "noisy",
    EXTRACT: "Extract",
    NEITHER: "Diffuse alone",
    ESTIMATE: "Diffuse, estimate",
    LATENTS: "Diffuse, latents",
    BOTH: "Ex-Diff: both",
}
CONTRASTS = (
    *((system, EXTRACT) for system in (NEITHER, ESTIMATE, LATENTS, BOTH)),
    (ESTIMATE, NEITHER),
    (LATENTS, NEITHER),
    (BOTH, ESTIMATE),
    (BOTH, LATENTS),
)


def read_rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def variant_and_seed(name: str) -> tuple[str, str]:
    """The seed is empty where the name ends in no number."""
    found = re.fullmatch(r"(.+)-(\d+)", name)
    return (found[1], found[2]) if found else (name, "")


def scores_of(rows: Iterable[dict[str, str]]) -> Scores:
    """Each variant's measures on each mixture, mean of its seeds."""
    found: dict[tuple[str, System], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        found[row["pair"], System(variant_and_seed(row["system"])[0])].append(row)
    return Scores(
        [
            Row(pair, {}, system, {name: mean_of_known(row[name] for row in alike) for name in MEASURES})
            for (pair, system), alike in found.items()
            if system in NAMES
        ],
        list(NAMES),
        MEASURES,
    )


def split_by_seed(rows: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """The rows of each seed, with those that have none."""
    seeds = [variant_and_seed(row["system"])[1] for row in rows]
    for chosen in sorted(set(seeds) - {""}):
        yield [row for row, seed in zip(rows, seeds, strict=True) if seed in ("", chosen)]


def mean_of_known(values: Iterable[str]) -> float | None:
    known = [float(value) for value in values if value]
    return fmean(known) if known else None


def print_table(first: str, rows: Iterable[tuple[str, list[str]]]) -> None:
    print(f"| {first} | " + " | ".join(heading(name) for name in MEASURES) + " |")
    print("| --- " * (len(MEASURES) + 1) + "|")
    for label, cells in rows:
        print(f"| {label} | " + " | ".join(cells) + " |")
    print()


def level(mean: Mean | None) -> str:
    return "-" if mean is None else f"{mean.value:.3f}"


def change(gain: Mean | None) -> str:
    """With its interval, in bold where that leaves out no change."""
    if gain is None:
        return "-"
    text = f"{gain.value:+.3f}"
    return (f"**{text}**" if gain.low > 0 or gain.high < 0 else text) + f" ({gain.low:+.2f} to {gain.high:+.2f})"


def main(path: str) -> None:
    rows = read_rows(path)
    scores = scores_of(rows)
    print_table(
        f"means of {scores.pairs} mixtures",
        ((NAMES[s], [level(scores.mean(s, name)) for name in MEASURES]) for s in scores.systems),
    )
    print_table(
        "difference, 95 % interval",
        (
            (f"{NAMES[one]} - {NAMES[other]}", [change(scores.gain(one, other, name)) for name in MEASURES])
            for one, other in CONTRASTS
        ),
    )
    seeds = [scores_of(part) for part in split_by_seed(rows)]
    print_table(
        "difference, by seed",
        (
            (f"{NAMES[one]} - {NAMES[other]}", [by_seed(seeds, one, other, name) for name in MEASURES])
            for one, other in CONTRASTS
        ),
    )


def by_seed(seeds: list[Scores], one: System, other: System, measure: str) -> str:
    gains = (scores.gain(one, other, measure) for scores in seeds)
    return ", ".join(f"{gain.value:+.3f}" for gain in gains if gain)


if __name__ == "__main__":
    main(sys.argv[1])
