"""What a run prints: a table for people, JSON for programs."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from exdiff_cli.engine import Outcome, RunResult
from exdiff_cli.report.sidecar import Measures
from exdiff_cli.text import printable


def run_table(result: RunResult) -> Table:
    """A row a recording that is done; failures are told one by one as they happen.

    Longer runs are summed up: nobody reads ten thousand rows, and each recording has its report.
    """
    hidden = result.done_count - len(result.done)
    caption = _totals(result) + (f"; {hidden} more are not shown" if hidden else "")
    table = Table(caption=Text(printable(caption), style="table.caption"))
    table.add_column("recording", overflow="fold")
    for name in ("length", "DNSMOS", "LUFS", "noise floor", "x real time"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in result.done:
        table.add_row(*_cells(outcome))
    return table


def _cells(outcome: Outcome) -> list[str | Text]:
    report = outcome.report
    assert report is not None
    before, after = report.before, report.after
    speed = 1 / report.real_time_factor if report.real_time_factor else 0.0
    return [
        Text(printable(str(outcome.job.relative))),  # brackets in a file name are no markup
        f"{report.input.duration_s:.1f} s",
        f"{opinion(before)} → {opinion(after)}",
        f"{_number(before.loudness_lufs)} → {_number(after.loudness_lufs)}",
        f"{before.noise_floor_dbfs:.0f} → {after.noise_floor_dbfs:.0f} dB",
        f"{speed:.1f}",
    ]


def opinion(measures: Measures) -> str:
    """DNSMOS overall, or a dash."""
    return f"{measures.dnsmos.ovrl:.2f}" if measures.dnsmos else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _totals(result: RunResult) -> str:
    parts = [
        f"{result.done_count} done",
        f"{result.skipped} were done before",
        f"{len(result.failed)} failed",
        *([f"{result.left} left"] if result.left else []),
        *([f"{result.converted} stored in another format"] if result.converted else []),
        *([f"{result.flagged} rated lower than the recording, see flags in their reports"] if result.flagged else []),
    ]
    seconds = f"{result.done_seconds:.0f} s of audio in {result.seconds:.0f} s"
    page = f", see {result.report.name} there" if result.report else ""
    return f"{', '.join(parts)}; {seconds}; written to {result.output}{page}"


def recording_json(outcome: Outcome) -> dict[str, object]:
    """What became of one recording; its ``report`` holds scores, seconds by stage and hashes where it was done now."""
    return {
        "message_type": "recording",
        "recording": str(outcome.job.relative),
        "source": str(outcome.job.source),
        "state": "failed" if outcome.error else "skipped" if outcome.skipped else "done",
        "output": str(outcome.output) if outcome.output else None,
        "error": outcome.error,
        "report": outcome.report.model_dump(mode="json") if outcome.report else None,
    }


def summary_json(result: RunResult) -> dict[str, object]:
    """The run in figures, once all its recordings are told."""
    return {
        "message_type": "summary",
        "output": str(result.output),
        "exit_code": int(result.exit_code),
        "seconds": round(result.seconds, 3),
        "done": result.done_count,
        "skipped": result.skipped,
        "failed": len(result.failed),
        "left": result.left,
        "converted": result.converted,
        "flagged": result.flagged,
        "shortfalls": result.shortfalls,
        "problems": result.problems,
        "report": str(result.report) if result.report else None,
    }
