"""`exdiff evaluate`: which bundles on which pairs, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from exdiff_cli.commands.options import (
    BundleOption,
    DeviceOption,
    QueryOption,
    ThreadsOption,
    choose_device,
    make_settings,
)
from exdiff_cli.errors import UsageError
from exdiff_cli.logs import no_bar
from exdiff_cli.settings import DEFAULT_BUNDLE, SPEECH
from exdiff_cli.stdout import print_json, print_table

if TYPE_CHECKING:
    from exdiff_cli.scores import Scores


def evaluate(
    noisy: Annotated[Path, typer.Argument(help="Folder of noisy recordings, or of a whole set; or one recording.")],
    clean: Annotated[Path | None, typer.Argument(help="Folder of clean ones of the same names; or one.")] = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    steps: Annotated[str | None, typer.Option(help="Steps to compare, as 1,2,4. (default: the bundle's)")] = None,
    measures: Annotated[str | None, typer.Option(help="Groups of measures, as pesq,dnsmos. (default: all)")] = None,
    latents: Annotated[bool, typer.Option(help="Compare with latents dropped, too.")] = True,
    against: Annotated[list[str] | None, typer.Option(help="Another bundle to compare with; may be repeated.")] = None,
    query: QueryOption = SPEECH,
    seed: Annotated[int, typer.Option(help="Seed of the sampler's noise.")] = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write a line a recording and system to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the scores into this PNG or SVG file.")] = None,
) -> None:
    """Measure noisy input, Extract alone, Diffuse without latents and Ex-Diff against clean references.

    One folder may be a set of its own: noisy and clean in it, VoiceBank-DEMAND's test set, or MUSDB18 as WAV.
    """
    import torch

    from exdiff_cli.bundle import load_bundle
    from exdiff_cli.datasets import find_pairs
    from exdiff_cli.evaluate import Comparison
    from exdiff_cli.evaluate import evaluate as run_evaluation
    from exdiff_cli.measures.against_clean import choose_groups
    from exdiff_cli.query import ask

    pairs = find_pairs(noisy, clean)
    loaded, query = ask(load_bundle(bundle), query)
    settings = make_settings(loaded, query=query, seed=seed)
    counts = parse_steps(steps) if steps else [settings.sampler.steps] if settings.sampler.steps else []
    others = [load_bundle(name) for name in against or ()]
    if len({loaded.name, *(other.name for other in others)}) <= len(others):
        raise UsageError("--against: two bundles are named alike; give their folders different names")
    comparison = Comparison(counts, choose_groups(measures), latents, others)
    with tqdm(total=len(pairs), desc="evaluating", unit="pair", disable=no_bar(), leave=False) as bar:
        scores = run_evaluation(pairs, loaded, settings, comparison, torch.device(choose_device(device)), bar.update)
    show_scores(scores, as_json, csv, plot)


def show_scores(scores: Scores, as_json: bool, csv: Path | None, plot: Path | None) -> None:
    """Print an evaluation, and write what else was asked for."""
    from exdiff_cli.report.score_tables import score_tables, scores_csv, scores_json

    if csv is not None:
        write_text(csv, scores_csv(scores))
    if plot is not None:
        from exdiff_cli.report.score_plot import draw_scores

        draw_scores(scores, plot)
    if as_json:
        print_json(scores_json(scores))
        return
    for table in score_tables(scores):
        print_table(table)


def write_text(path: Path, text: str) -> None:
    """:class:`UsageError` where it cannot be written."""
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name a file elsewhere") from error


def parse_steps(text: str) -> list[int]:
    """``1,2,4`` as numbers; :class:`UsageError` for anything else."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise UsageError(f"--steps {text}: give whole numbers above 0, separated by commas")
    return counts
