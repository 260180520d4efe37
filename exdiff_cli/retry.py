"""Once more what failed in an output folder, with the settings that it was to be made with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from exdiff_cli.bundle import Bundle, load_bundle
from exdiff_cli.discover import Discovery
from exdiff_cli.engine import KEPT_OUTCOMES, Listener, RunOptions, RunResult, enhance_found
from exdiff_cli.errors import BundleError, UsageError
from exdiff_cli.jobs import Job, Jobs
from exdiff_cli.manifest import MadeWith, Manifest, State
from exdiff_cli.query import ask
from exdiff_cli.settings import Resources, Settings
from exdiff_cli.status import parts_of


@dataclass(frozen=True)
class Again:
    """What failed in one part under the same settings and weights."""

    part: str
    made_with: MadeWith
    jobs: Jobs


def find_failed(output: Path) -> list[Again]:
    """What failed, by part, settings and weights.

    Raises :class:`UsageError` where there is no manifest, or none that says what a recording was to be made with.
    """
    return [again for part in parts_of(output) for again in _failed_in(output, part)]


def _failed_in(output: Path, part: str) -> Iterable[Again]:
    found: dict[tuple[str | None, str | None], Again] = {}
    with Manifest.open(output, part, read_only=True) as manifest:
        for row in manifest.rows(State.FAILED):
            keys = (row.settings_key, row.weights_sha256)
            if keys not in found:
                found[keys] = Again(part, _known(manifest.made_with(*keys), output), Jobs())
            found[keys].jobs.add([Job(row.source, row.relative)])
    return found.values()


def _known(made_with: MadeWith | None, output: Path) -> MadeWith:
    if made_with is None:
        raise UsageError(
            f"{output}: its manifest does not say with what settings; "
            "run the same `exdiff enhance` again, with --retry-failed"
        )
    return made_with


def restore(made_with: MadeWith) -> tuple[Bundle, Settings]:
    """The bundle and the settings; :class:`UsageError` where results would be others now."""
    remedy = "put back what it was, or run `exdiff enhance` anew"
    bundle = load_bundle(made_with.bundle)
    try:
        settings = Settings.from_dict(made_with.settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"settings of another version of exdiff ({error}); {remedy}") from error
    bundle, query = ask(bundle, made_with.examples or settings.query)
    bundle, settings = bundle.computing_in(settings.precision), replace(settings, query=query)
    if bundle.weights_sha256 != made_with.weights_sha256:
        raise BundleError(f"{made_with.bundle}: holds other models than before; {remedy}")
    if settings.cache_key() != made_with.settings_key:
        cause = f"{made_with.examples}: examples" if made_with.examples else "exdiff: results"
        raise UsageError(f"{cause} are others than before; {remedy}")
    return bundle, settings


def retry_failed(
    output: Path, found: Iterable[Again], resources: Resources, listener: Listener, options: RunOptions
) -> Iterator[RunResult]:
    """Run what :func:`find_failed` found, one part and setting after the other, as far as it still fails."""
    ready = [(again, *restore(again.made_with)) for again in found]
    for _, _, settings in ready:
        resources.check_precision(settings.precision)
    for again, bundle, settings in ready:
        of_part = replace(options, part=again.part, only_failed=True)
        yield enhance_found(Discovery(again.jobs), output, bundle, settings, resources, listener, of_part)


def together(output: Path, results: Iterable[RunResult]) -> RunResult:
    """Several runs into one folder as if they were one."""
    whole = RunResult(output)
    for result in results:
        whole.done = (whole.done + result.done)[:KEPT_OUTCOMES]
        whole.failed += result.failed
        whole.problems += result.problems
        whole.seconds += result.seconds
        whole.left += result.left
        whole.skipped += result.skipped
        whole.done_count += result.done_count
        whole.converted += result.converted
        whole.flagged += result.flagged
        whole.done_seconds += result.done_seconds
        whole.stopped_by = whole.stopped_by or result.stopped_by
        whole.gave_up = whole.gave_up or result.gave_up
        whole.refused = whole.refused or result.refused
    return whole
