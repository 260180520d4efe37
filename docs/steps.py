"""Quality against time, as Markdown and a plot: python docs/steps.py SCORES.csv BENCH.json... [--plot PNG].

SCORES.csv is of `exdiff evaluate --steps 1,2,4,8 --csv`, each BENCH.json of `exdiff bench --steps N --json`.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from exdiff_cli.evaluate import EXTRACT, NOISY
from exdiff_cli.report.score_tables import heading
from exdiff_cli.scores import Mean, Row, Scores, System

MEASURES = ("pesq", "estoi", "si_sdr", "si_sir", "ovrl", "pause")
EX_DIFF = "ex-diff"


def read_scores(path: Path) -> Scores:
    """The default's systems, by their steps."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [
        Row(
            line["pair"], {}, System(line["system"], int(line["steps"])), {name: known(line[name]) for name in MEASURES}
        )
        for line in lines
        if line["system"] in (NOISY.name, EXTRACT.name, EX_DIFF)
    ]
    systems = sorted({row.system for row in rows}, key=lambda system: (system != NOISY, system.steps))
    return Scores(rows, systems, MEASURES)


def known(text: str) -> float | None:
    return float(text) if text else None


def read_speeds(paths: list[Path]) -> dict[int, float]:
    """Real-time factor of a whole run by steps."""
    found = [json.loads(path.read_text()) for path in paths]
    return {figures["steps"]: figures["real_time_factor"] for figures in sorted(found, key=lambda each: each["steps"])}


def show(mean: Mean | None, sign: str = "") -> str:
    return "-" if mean is None else f"{mean.value:{sign}.3f} ({mean.low:{sign}.2f} to {mean.high:{sign}.2f})"


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def print_tables(scores: Scores, speeds: dict[int, float]) -> None:
    names = [heading(name) for name in MEASURES]
    print_row(f"means of {scores.pairs} mixtures", "real-time factor", *names)
    print_row(*["---"] * (len(MEASURES) + 2))
    for system in scores.systems:
        speed = "" if system == NOISY else f"{speeds[system.steps]:.3f}"
        print_row(system.label, speed, *(show(scores.mean(system, name)) for name in MEASURES))
    print()
    sampled = [system for system in scores.systems if system.steps]
    print_row("difference", *names)
    print_row(*["---"] * (len(MEASURES) + 1))
    for system, over in [(sampled[0], EXTRACT), *((system, sampled[0]) for system in sampled[1:])]:
        gains = (show(scores.gain(system, over, name), "+") for name in MEASURES)
        print_row(f"{system.label} - {over.label}", *gains)


def draw(scores: Scores, speeds: dict[int, float], target: Path) -> None:
    """A measure a panel, against time; its interval is that of the gain over Extract, on the same mixtures."""
    from matplotlib import pyplot as plt

    from exdiff_cli.report.figure import save_figure

    shown = ("pesq", "estoi", "si_sdr", "ovrl")
    figure, axes = plt.subplots(1, len(shown), figsize=(14, 3.4), layout="constrained")
    for axis, measure in zip(axes, shown, strict=True):
        base = scores.average(EXTRACT, measure) or 0.0
        systems = [system for system in scores.systems if system != NOISY]
        gains = [scores.gain(system, EXTRACT, measure) or Mean(0, 0, 0, 0) for system in systems]
        times = [speeds[system.steps] for system in systems]
        axis.plot(times, [base + gain.value for gain in gains], "o-")
        axis.fill_between(times, [base + g.low for g in gains], [base + g.high for g in gains], alpha=0.15, linewidth=0)
        for system, time, gain in zip(systems, times, gains, strict=True):
            name = str(system.steps) if system.steps else "Extract"
            axis.annotate(name, (time, base + gain.value), xytext=(5, -11), textcoords="offset points")
        axis.set_title(heading(measure), loc="left")
        axis.set_xlabel("real-time factor")
        axis.margins(0.12)
        axis.grid(alpha=0.3)
    save_figure(figure, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path)
    parser.add_argument("bench", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    scores, speeds = read_scores(given.scores), read_speeds(given.bench)
    print_tables(scores, speeds)
    if given.plot:
        draw(scores, speeds, given.plot)


if __name__ == "__main__":
    main()
