"""`exdiff abtest`: makes a blind listening test of an output folder, and says what listeners answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from exdiff_cli.commands.options import say
from exdiff_cli.errors import RecordingError, UsageError
from exdiff_cli.logs import no_bar
from exdiff_cli.stdout import print_json, print_table, print_text
from exdiff_cli.text import printable


def abtest(
    paths: Annotated[list[Path], typer.Argument(help="An output folder of exdiff; with --score, result files.")],
    pairs: Annotated[int, typer.Option(min=1, max=100, help="Excerpts to listen to.")] = 20,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the page. (default: OUT-abtest.html)")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=30, help="Length of an excerpt.")] = 8,
    seed: Annotated[int, typer.Option(help="Draw others.")] = 0,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another output folder of the same recordings, in place of the originals."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder of clean recordings of the same names: rate with a hidden reference.")
    ] = None,
    score: Annotated[bool, typer.Option("--score", help="Say what was answered in result files.")] = False,
    key: Annotated[Path | None, typer.Option(help="The test's key. (default: found beside the first result)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a page on which somebody compares enhanced recordings with their originals blindly, and its key beside it.

    The page needs nothing but itself, and does not tell what is what: that is in the key, which stays with you.
    """
    if score:
        score_results(paths, key, as_json)
        return
    if len(paths) > 1:
        raise UsageError(f"{paths[1]}: one output folder at a time; compare two with --against")
    make_page(paths[0], tuple(against or ()), reference, output, pairs, seconds, seed, as_json)


def make_page(
    folder: Path,
    against: tuple[Path, ...],
    reference: Path | None,
    output: Path | None,
    pairs: int,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Make the page and its key, and say where they are."""
    from exdiff_cli.listening.key import key_path
    from exdiff_cli.listening.make import make_test, refuse_to_overwrite, write_test
    from exdiff_cli.listening.sources import Comparison

    page = output or Path(f"{folder.resolve()}-abtest.html")
    refuse_to_overwrite(page)
    with tqdm(total=pairs, desc="choosing", unit="excerpt", disable=no_bar(), leave=False) as bar:
        test = make_test(Comparison(folder, against, reference), pairs, seconds, seed, bar.update)
    try:
        write_test(page, test)
    except RecordingError as error:
        raise UsageError(str(error)) from error
    made = len(test.key.trials)
    if made < pairs:
        say(f"exdiff: {made} excerpts instead of {pairs}: there is no more speech to hear without repeating it")
    if as_json:
        known = {"page": str(page), "key": str(key_path(page)), "test": test.key.test, "kind": test.key.kind.value}
        print_json({"message_type": "abtest", **known, "excerpts": made, "recordings": test.recordings})
    else:
        size = page.stat().st_size / 1e6
        print_text(printable(f"{page}: {made} excerpts of {test.recordings} recordings, {size:.1f} MB"))
        print_text(printable(f"{key_path(page)}: what is what; keep it from the listeners, for --score"))


def score_results(paths: list[Path], key_file: Path | None, as_json: bool) -> None:
    """Print what listeners answered."""
    from exdiff_cli.listening.results import read_results
    from exdiff_cli.listening.tables import score_json, score_tables

    key, results = read_results(paths, key_file)
    if as_json:
        print_json(score_json(key, results))
        return
    for table in score_tables(key, results):
        print_table(table)
