"""Tells of a run as it goes: progress and log lines on stderr, with ``--json`` a result line a recording on stdout."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from exdiff_cli.audio.recording import Recording
from exdiff_cli.engine import Listener, Outcome
from exdiff_cli.jobs import Job
from exdiff_cli.logs import fields
from exdiff_cli.progress import Progress
from exdiff_cli.report.sidecar import QualityReport
from exdiff_cli.stdout import print_json
from exdiff_cli.summary import opinion, recording_json

log = logging.getLogger(__name__)


@contextmanager
def following(as_json: bool) -> Iterator[Listener]:
    """Whom a run is to tell how it goes."""
    with Progress() as progress:

        def began(job: Job, recording: Recording) -> None:
            log_beginning(job, recording)
            progress.began(job, recording)

        def ended(outcome: Outcome) -> None:
            log_end(outcome)
            if as_json:
                print_json(recording_json(outcome))
            progress.ended(outcome)

        yield Listener(progress.planned, progress.advanced, ended, began)


def log_beginning(job: Job, recording: Recording) -> None:
    """A line of what is taken on."""
    log.info(
        "began %s: %.1f s of %s %s, %d Hz, %d channels",
        job.relative,
        recording.seconds,
        recording.container,
        recording.subtype,
        recording.sample_rate,
        recording.channels,
        extra=fields(recording=str(job.relative), audio_seconds=recording.seconds),
    )


def log_end(outcome: Outcome) -> None:
    """A line of what became of it: failures always, what was done before only for debugging."""
    name = str(outcome.job.relative)
    if outcome.error:
        log.error("failed: %s", outcome.error, extra=fields(recording=name, state="failed"))
    elif outcome.report is None:
        log.debug("skipped %s: done before", name, extra=fields(recording=name, state="skipped"))
    else:
        told = fields(recording=name, state="done", seconds=outcome.report.seconds)
        log.info("done %s: %s", name, _in_words(outcome.report), extra=told)


def _in_words(report: QualityReport) -> str:
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())
    return (
        f"{sum(report.seconds.values()):.1f} s ({stages}), DNSMOS {opinion(report.before)} to {opinion(report.after)}"
    )
