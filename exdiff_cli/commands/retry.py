"""`exdiff retry`: once more what failed, without repeating any option."""

from __future__ import annotations

import logging

import typer

from exdiff_cli.audio.limits import MOST_HOURS
from exdiff_cli.commands.enhance import show_result
from exdiff_cli.commands.options import (
    DevicesOption,
    GraceOption,
    JsonLinesOption,
    LockWaitOption,
    LogFormatOption,
    MaxHoursOption,
    QuietOption,
    SegmentsOption,
    ThreadsOption,
    VerboseOption,
    choose_resources,
)
from exdiff_cli.commands.report import ReportOption, report_run
from exdiff_cli.commands.results import OutputArgument
from exdiff_cli.stopping import Stop, on_signals, parse_duration

log = logging.getLogger(__name__)


def retry(
    output: OutputArgument,
    batch: SegmentsOption = None,
    grace: GraceOption = "30s",
    lock_wait: LockWaitOption = None,
    max_hours: MaxHoursOption = MOST_HOURS,
    report: ReportOption = True,
    device: DevicesOption = "auto",
    threads: ThreadsOption = 0,
    as_json: JsonLinesOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """Try again what failed in an output folder, from the same originals with the same settings and models."""
    from exdiff_cli.engine import RunOptions
    from exdiff_cli.follow import following
    from exdiff_cli.retry import find_failed, retry_failed, together

    stop = Stop(grace=parse_duration(grace, "--grace"))
    wait = parse_duration(lock_wait, "--lock-wait") if lock_wait else 0.0
    options = RunOptions(stop=stop, lock_wait=wait, max_hours=max_hours)
    resources = choose_resources(device, batch)
    with following(as_json) as listener, on_signals(stop, log.warning):
        result = together(output, retry_failed(output, find_failed(output), resources, listener, options))
    if report:
        report_run(result)
    show_result(result, as_json)
    raise typer.Exit(result.exit_code)
