"""The whole of a result against its recording: none that is rated is worse without saying so, and none by far.

Where DNSMOS rates a result far below its recording, Extract's estimate is the result instead, and where that is rated
no better, the recording itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from exdiff_cli.enhancer import Enhancer
from exdiff_cli.errors import GateError
from exdiff_cli.placement import NoMemoryError, worker
from exdiff_cli.report.build import build_report
from exdiff_cli.report.sidecar import QualityReport, TakenFrom
from exdiff_cli.settings import SPEECH, OnRisk
from exdiff_cli.stream import RecordingStream

FLAGGED, HARMED = 0.1, 0.3
"""By how much less overall opinion a result is flagged, and not taken. Single clips that are clearly better by PESQ
can lose 0.2, see docs/guard.md."""

GoOn = Callable[[], None]
Remedy = Callable[[RecordingStream, Enhancer, GoOn], None]


def complete(stream: RecordingStream, enhancer: Enhancer, go_on: GoOn = lambda: None) -> QualityReport:
    """Complete the result, or what takes its place, and report on it; ``go_on`` may raise to give that up.

    Raises :class:`GateError` where a recording is to fail by it, RecordingError where it cannot be read or written.
    """
    stream.complete()
    report, told = _report(stream, enhancer), []
    if enhancer.settings.query != SPEECH:
        return report
    for taken, remedy in _remedies(enhancer).items():
        if _fall(report) <= HARMED:
            break
        told.append(f"rated {_fall(report):.2f} below the recording by DNSMOS: {_NAMES[taken]} taken instead")
        remedy(stream, enhancer, go_on)
        report = _report(stream, enhancer, is_suspect=True)
    changes = (*told, *report.changes)
    return report.model_copy(update={"changes": changes, "flags": _flags(report)})


def _report(stream: RecordingStream, enhancer: Enhancer, is_suspect: bool = False) -> QualityReport:
    report = build_report(stream, enhancer.settings, enhancer.bundle, is_suspect)
    settings = enhancer.settings
    if settings.on_risk is OnRisk.FAIL and settings.query == SPEECH and _fall(report) > HARMED:
        problem = f"its result is rated {_fall(report):.2f} below it by DNSMOS"
        raise GateError(stream.job.source, problem, "listen to it, or use --on-risk fallback")
    return report


def _fall(report: QualityReport) -> float:
    return max(0.0, -(report.gain or 0.0))


def _flags(report: QualityReport) -> tuple[str, ...]:
    if _fall(report) <= FLAGGED:
        return ()
    return (f"rated {_fall(report):.2f} below the recording by DNSMOS: listen to both",)


def _remedies(enhancer: Enhancer) -> dict[TakenFrom, Remedy]:
    """What is tried in turn."""
    settings = enhancer.settings
    if settings.on_risk not in (OnRisk.FALLBACK, OnRisk.KEEP_ORIGINAL):
        return {}
    steps: dict[TakenFrom, Remedy] = {TakenFrom.ORIGINAL: lambda stream, _, go_on: stream.keep_original(go_on)}
    if settings.on_risk is OnRisk.FALLBACK and settings.sampler.steps:
        steps = {TakenFrom.EXTRACT: take_estimate, **steps}
    return steps


_NAMES = {TakenFrom.EXTRACT: "Extract's estimate", TakenFrom.ORIGINAL: "the recording itself"}


def take_estimate(stream: RecordingStream, enhancer: Enhancer, go_on: GoOn) -> None:
    """Make Extract's estimate alone the complete result; ``go_on`` is asked before each piece."""
    sampler = replace(enhancer.settings.sampler, steps=0)
    alone = replace(enhancer.sharing(), settings=replace(enhancer.settings, sampler=sampler))
    models = worker(alone)
    stream.restart(alone.settings)
    for item in stream.pieces():
        go_on()
        made = models.enhance([item.piece])
        (enhanced,) = made.results
        if isinstance(enhanced, NoMemoryError):
            raise enhanced
        stream.accept(item, enhanced)
        for stage, seconds in made.seconds.items():
            stream.seconds.add(stage, seconds)
    stream.complete()
