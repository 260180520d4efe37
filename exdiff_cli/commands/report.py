"""`exdiff report`: what an output folder holds as a page, a table and figures; and the report at the end of a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from exdiff_cli.commands.options import JsonLinesOption, check_price
from exdiff_cli.commands.results import OutputArgument
from exdiff_cli.errors import ExdiffError, OutputError, UsageError
from exdiff_cli.logs import no_bar
from exdiff_cli.stdout import print_json, print_lines, print_table, print_text
from exdiff_cli.text import printable

if TYPE_CHECKING:
    from exdiff_cli.engine import RunResult

log = logging.getLogger(__name__)

ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="Write report.html, report.csv and run.json at the end.")
]
ALL = "all"


def report(
    output: OutputArgument,
    pictures: Annotated[str, typer.Option(help="Spectrograms: of so many of the worst, or all.")] = "10",
    price_per_hour: Annotated[float | None, typer.Option(help="What an hour of work costs.")] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Set another output folder beside it, by recording; write no report."),
    ] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="With --compare: a file for a row a recording.")] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Make report.html, report.csv and run.json of an output folder anew, or compare it with another."""
    check_price(price_per_hour)
    if compare is not None:
        return _compare(output, compare, table, as_json)
    if table is not None:
        raise UsageError("--csv: is for --compare; report.csv is written anyway")
    from exdiff_cli.report.run_report import PAGE, ReportOptions, write_report

    options = ReportOptions(parse_pictures(pictures), price_per_hour=price_per_hour)
    with tqdm(desc="reporting", unit="file", disable=no_bar(), leave=False) as bar:
        run = write_report(output, options, bar.update)
    if as_json:
        print_json({"message_type": "report", **run})
    else:
        print_text(printable(str(output / PAGE)))


def parse_pictures(text: str) -> int | None:
    """A number, or None for all; :class:`UsageError` for anything else."""
    if text == ALL:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"--pictures {text}: give a number, or {ALL}")
    return int(text)


def _compare(output: Path, other: Path, table: Path | None, as_json: bool) -> None:
    from exdiff_cli.publish import publish_text
    from exdiff_cli.report.compare import compare, comparison_csv, comparison_tables

    found = compare(output, other)
    if table is not None:
        try:
            publish_text(table, comparison_csv(found))
        except OutputError as error:
            if error.disk:
                raise
            raise UsageError(str(error)) from error
    if as_json:
        for pair in found.pairs:
            print_json(pair.as_json())
        print_json(found.as_json())
        return
    for each in comparison_tables(found):
        print_table(each)
    print_lines(f"{line}\n" for line in found.remarks())


def report_run(result: RunResult, price_per_hour: float | None = None) -> None:
    """The report at the end of a run. Whatever goes wrong with it is a problem of the run, and never ends it.

    There is none after a signal that left work, as the next run makes it, nor where it would change nothing.
    """
    from exdiff_cli.report.run_report import PAGE, SHARE_FOR_PICTURES, ReportOptions, is_reported, write_report

    if result.stopped_by is not None and result.left:
        return
    try:
        if result.done_count or result.failed or not is_reported(result.output):
            seconds = SHARE_FOR_PICTURES * result.seconds
            write_report(result.output, ReportOptions(picture_seconds=seconds, price_per_hour=price_per_hour))
        result.report = result.output / PAGE
    except ExdiffError as error:
        result.problems.append(str(error))
    except Exception as error:
        log.debug("report", exc_info=True)
        result.problems.append(f"{result.output}: its report cannot be made ({type(error).__name__}: {error})")
