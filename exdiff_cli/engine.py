"""The run: discover, plan, decode, enhance in batches of many files, publish, report."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from threading import Event, Lock
from time import perf_counter

from exdiff_cli import __version__
from exdiff_cli.audio.io import AUDIO_SUFFIXES, file_sha256, probe
from exdiff_cli.audio.limits import MOST_HOURS
from exdiff_cli.audio.provenance import SHORT_HASH, Provenance
from exdiff_cli.audio.recording import Recording
from exdiff_cli.bundle import Bundle, bundle_reference
from exdiff_cli.discover import Discovery, discover
from exdiff_cli.errors import ExdiffError, ExitCode, GateError, OutputError, RecordingError, TakenError, UsageError
from exdiff_cli.jobs import PAGE_JOBS, Job, Jobs, pages
from exdiff_cli.lock import locked, state_folder
from exdiff_cli.manifest import MANIFEST, MadeWith, Manifest, State, fingerprint, is_another
from exdiff_cli.no_harm import complete
from exdiff_cli.placement import Batch, NoMemoryError, Placement
from exdiff_cli.publish import TEMPORARY_GLOB, publish_text
from exdiff_cli.read_ahead import read_ahead
from exdiff_cli.rebuild import rebuild
from exdiff_cli.report.sidecar import QualityReport, read_sidecar, sidecar_path, to_json
from exdiff_cli.settings import Resources, Settings
from exdiff_cli.stopping import AbandonedError, Pace, Stop
from exdiff_cli.stream import RecordingStream, StreamPiece

PUBLISH_BACKLOG = 16
"""Recordings that may wait to be published and scored; beyond, the models wait for them."""

REFUSALS = 3
"""So many results in a row that the disk refused end the run: it would refuse all others too."""

KEPT_OUTCOMES = 40
"""Of so many recordings that are done a run keeps the outcome, to show it; ten thousand reports fill 100 MB."""

POLL_SECONDS = 0.05

OTHERS_SECONDS = 3600.0
"""A temporary file that is still being written was touched within this time."""


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: ``report`` where it was done now, ``error`` in one line where it failed.

    ``gated`` where it failed because its result was not good enough.
    """

    job: Job
    output: Path | None = None
    report: QualityReport | None = None
    error: str | None = None
    skipped: bool = False
    gated: bool = False


@dataclass
class RunResult:
    """What a run came to, and the exit code that it amounts to.

    ``done`` holds the first :data:`KEPT_OUTCOMES` of ``done_count`` recordings, whose audio lasts ``done_seconds``;
    ``failed`` all of theirs. ``converted`` ones are done, but not stored as their originals are; ``flagged`` ones are
    rated lower than these. ``skipped`` ones were done before. ``left`` ones were not begun or not
    finished: a signal came, ``stopped_by``, too many failed, ``gave_up``, or the deadline. ``refused`` where they
    failed because the disk took nothing any more. ``shortfalls`` say which gates the folder's results do not pass.
    ``report`` is the page that shows the run, where one was written. ``stage_seconds`` is the work on what is done, in
    batches of so many segments as ``batch`` says.
    """

    output: Path
    done: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    left: int = 0
    stopped_by: Signals | None = None
    gave_up: bool = False
    refused: bool = False
    skipped: int = 0
    done_count: int = 0
    converted: int = 0
    flagged: int = 0
    done_seconds: float = 0.0
    shortfalls: list[str] = field(default_factory=list)
    report: Path | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)
    batch: int = 1

    def add(self, outcome: Outcome) -> None:
        """Count a recording, and keep what became of it as far as it will be asked for."""
        if outcome.skipped:
            self.skipped += 1
        elif outcome.report is None:
            self.failed.append(outcome)
        else:
            self.done_count += 1
            self.done_seconds += outcome.report.input.duration_s
            self.converted += outcome.report.is_converted
            self.flagged += bool(outcome.report.flags)
            if len(self.done) < KEPT_OUTCOMES:
                self.done.append(outcome)

    def add_work(self, seconds: Mapping[str, float]) -> None:
        """Of a recording that is done."""
        for stage, spent in seconds.items():
            self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + spent

    @property
    def exit_code(self) -> int:
        if self.left and self.stopped_by is not None:
            return 128 + self.stopped_by
        if self.left and not self.gave_up:
            return ExitCode.DEADLINE
        if self.problems or (self.gave_up and self.left) or not all(outcome.gated for outcome in self.failed):
            return ExitCode.SOME_FAILED
        return ExitCode.QUALITY_GATE if self.failed or self.shortfalls else ExitCode.OK


@dataclass(frozen=True, eq=False)
class Broken:
    """A recording that cannot be decoded, or no further; without a ``stream`` it could not even be opened."""

    job: Job
    stream: RecordingStream | None
    error: Exception


Source = Iterator[StreamPiece | Broken | None]


@dataclass(frozen=True)
class Listener:
    """Whom the run tells how it goes: seconds of audio enhanced, and each recording as it begins and ends.

    Called from the threads of the run, ``ended`` by one at a time; what is raised here ends it.
    """

    planned: Callable[[int, int], None] = lambda pending, total: None
    advanced: Callable[[float], None] = lambda seconds: None
    ended: Callable[[Outcome], None] = lambda outcome: None
    began: Callable[[Job, Recording], None] = lambda job, recording: None


@dataclass(frozen=True)
class RunOptions:
    """How far a run goes, and beside whom; nothing here changes a result.

    ``stop`` says when to end before all is done, ``max_failures`` after how many failures. With ``only_failed``
    nothing is done but what failed before. ``part`` names the part of the recordings that this is, if others may run
    beside it; ``lock_wait`` seconds are waited while another run holds the folder.
    """

    stop: Stop = field(default_factory=Stop)
    max_failures: int | None = None
    only_failed: bool = False
    part: str = ""
    lock_wait: float = 0.0
    max_hours: float = MOST_HOURS


def enhance_all(
    paths: Sequence[Path],
    output: Path,
    bundle: Bundle,
    settings: Settings,
    resources: Resources,
    listener: Listener | None = None,
    options: RunOptions | None = None,
) -> RunResult:
    """Enhance every recording that ``paths`` name; otherwise as :func:`enhance_found`."""
    found = discover(paths, output, AUDIO_SUFFIXES)
    return enhance_found(found, output, bundle, settings, resources, listener, options)


def enhance_found(
    found: Discovery,
    output: Path,
    bundle: Bundle,
    settings: Settings,
    resources: Resources,
    listener: Listener | None = None,
    options: RunOptions | None = None,
) -> RunResult:
    """Enhance recordings into ``output``, as far as that is not done already.

    Raises the typed errors of :mod:`exdiff_cli.errors` for what stops a whole run; a recording that fails is an
    outcome.
    """
    began, options = perf_counter(), options or RunOptions()
    part, stop = options.part, options.stop
    refuse_other_shards(output, part)
    with locked(output, part, options.lock_wait, stop.raise_if_draining), Manifest.open(output, part) as manifest:
        run = _Run(output, manifest, bundle, settings, resources, listener or Listener(), options)
        run.result.problems = [str(problem) for problem in found.problems]
        with run.problem_noted():
            if manifest.is_empty():
                rebuild(manifest, output, found.jobs.holds if part else None)
            remove_leftovers(output, OTHERS_SECONDS if part else 0.0)
        run.result.batch = run.placement.batch
        manifest.remember(made_with(bundle, settings))
        pending = run.plan(found.jobs)
        gc.freeze()  # what is loaded stays: to look through it with each collection costs short recordings 4 %
        with run.placement.one_thread_each():
            run.enhance(pending)
        run.result.left = len(pending) + run.unseen - run.result.done_count - len(run.result.failed)
        run.result.stopped_by, run.result.gave_up, run.result.refused = stop.signal, run.gave_up, run.refused
        with run.problem_noted():
            manifest.export_jsonl(manifest.path.with_name("manifest.jsonl"))
    run.result.seconds = perf_counter() - began
    return run.result


def refuse_other_shards(output: Path, part: str) -> None:
    """UsageError where the folder was worked on in other parts: a recording would be in two of them.

    Those are another number of shards, or the whole of it. Nothing is lost with their state; the next run knows results
    by their reports.
    """
    state = state_folder(output)
    for other in sorted(state.glob("shard-*-of-*")):
        if other.name.rpartition("-")[2] != part.rpartition("-")[2]:
            problem = f"{output}: was worked on in {'another number of ' if part else ''}shards"
            raise UsageError(f"{problem}; give --shard with that, or remove {state}/shard-*")
    if part and (state / MANIFEST).exists():
        remedy = f"leave out --shard, or remove {state / MANIFEST}"
        raise UsageError(f"{output}: was worked on without --shard; {remedy}")


def made_with(bundle: Bundle, settings: Settings) -> MadeWith:
    """What the manifest must keep so that ``exdiff retry`` can make results as this run does."""
    examples = None if bundle.examples is None else str(bundle.examples)
    keys = (settings.cache_key(), bundle.weights_sha256)
    return MadeWith(*keys, settings.as_dict(), bundle_reference(bundle), examples)


def provenance(bundle: Bundle, settings: Settings, original_sha256: str) -> Provenance:
    """What the result of a recording says of itself."""
    weights = bundle.weights_sha256[:SHORT_HASH]
    return Provenance(__version__, bundle.name, weights, original_sha256, settings.is_generative)


def remove_leftovers(output: Path, untouched_for: float = 0.0) -> None:
    """Delete the temporary files that a killed run left; only the holder of the lock may.

    Where runs over other parts may be writing, only what has not been touched for so many seconds is left over.
    Raises RecordingError where one cannot be removed.
    """
    try:
        for leftover in output.rglob(TEMPORARY_GLOB):
            with suppress(FileNotFoundError):
                # Not by the time of modification: a result has its recording's before it has its name.
                if not untouched_for or time.time() - leftover.stat().st_ctime > untouched_for:
                    leftover.unlink()
    except OSError as error:
        problem = f"what a killed run left cannot be removed ({error.strerror})"
        raise RecordingError(
            Path(error.filename or output), problem, "check the disk, or remove it yourself"
        ) from error


@contextmanager
def _vouched_for(target: Path) -> Iterator[None]:
    """Take a result with its report away again where what has to follow its name fails: no row would stand for it."""
    try:
        yield
    except BaseException:
        for path in (target, sidecar_path(target)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


class _Run:
    """State of one run. At least three threads take part: one decodes, one publishes and scores, the caller's joins.

    The caller's computes too, unless the devices have threads of their own; decoding and publishing may have several.
    """

    def __init__(
        self,
        output: Path,
        manifest: Manifest,
        bundle: Bundle,
        settings: Settings,
        resources: Resources,
        listener: Listener,
        options: RunOptions,
    ) -> None:
        self.options, self.stop, self.pace = options, options.stop, Pace(options.stop.clock)
        self.output, self.manifest, self.bundle = output, manifest, bundle
        self.settings, self.resources, self.listener = settings, resources, listener
        self.key = settings.cache_key()
        self.placement = Placement(bundle, settings, resources)
        self.result = RunResult(output)
        self._refusals = 0
        self._counting = Lock()
        self.unseen = 0
        """Recordings that the run ended before it could tell whether they are done."""
        self._tries_one = False
        self._ended = Event()
        """Nobody takes any pieces any more."""
        self._found = Jobs()
        self._open_streams: set[RecordingStream] = set()

    def plan(self, jobs: Jobs) -> Jobs:
        """Leave out what is done under the same settings and weights; register the rest."""
        keys = (self.key, self.bundle.weights_sha256)
        self._found, pending = jobs, Jobs()
        for page in pages(jobs, PAGE_JOBS):
            wanted = self.manifest.failed_among(page) if self.options.only_failed else page
            done, others = self.manifest.split_done(wanted, *keys, self.output, lambda: self.stop.draining)
            self.unseen += len(wanted) - len(done) - len(others)
            for job in done:
                self._end(Outcome(job, skipped=True))
            if not self.options.only_failed:  # which stays failed until it is done
                taken = self.manifest.of_others(others)
                self.manifest.plan((job for job in others if job.relative not in taken), *keys)
            pending.add(others)
        self.listener.planned(len(pending), len(jobs))
        return pending

    @property
    def gave_up(self) -> bool:
        """Whether as many recordings failed as may, or the disk takes nothing any more."""
        limit = self.options.max_failures
        return self.refused or (limit is not None and len(self.result.failed) >= limit)

    @property
    def refused(self) -> bool:
        """Whether the disk refused so many results in a row that it will refuse all others too."""
        return self._refusals >= REFUSALS

    @contextmanager
    def problem_noted(self) -> Iterator[None]:
        """Go on without what is beside the recordings, but say that it failed."""
        try:
            yield
        except RecordingError as error:
            self.result.problems.append(str(error))

    def enhance(self, jobs: Jobs) -> None:
        """Decode ahead in other threads, run the models, publish behind in others."""
        size = self.placement.batch
        publisher = ThreadPoolExecutor(self.resources.publishers, "publish")
        behind: set[Future[None]] = set()
        try:
            with (
                closing(read_ahead(self._sources(jobs), 2 * size, self.resources.decoders)) as ahead,
                closing(self._enhanced(self._batches(ahead, size))) as enhanced,
                set_at_the_end(self._ended),
            ):
                for batch, made in enhanced:
                    behind |= {publisher.submit(self._publish, stream) for stream in self._advance(batch, made)}
                    behind = self._published(behind, PUBLISH_BACKLOG)
            self._published(behind, 0)
        finally:
            # First the thread, then its streams: one dropped before its turn would publish an older result as new.
            publisher.shutdown(cancel_futures=True)
            dropped = list(self._open_streams)
            for stream in dropped:
                self._drop(stream)
        self.manifest.put_back(stream.job for stream in dropped)

    def _published(self, behind: set[Future[None]], most: int) -> set[Future[None]]:
        """What is left once so many or fewer are, or time is over; raises what one of them did."""
        while True:
            done, behind = wait(
                behind, timeout=POLL_SECONDS if len(behind) > most else 0.0, return_when=FIRST_COMPLETED
            )
            for each in done:
                each.result()
            if len(behind) <= most or self.stop.over:
                return behind

    def _enhanced(self, batches: Iterable[list[StreamPiece]]) -> Generator[tuple[list[StreamPiece], Batch]]:
        return self.placement.enhance(batches, lambda item: item.piece, lambda: self.stop.over)

    def _sources(self, jobs: Jobs) -> Iterator[Source]:
        """What gives the pieces of one recording after the other; where one is damaged, that is the last heard of it.

        One for which there is no time is passed over: a shorter one may fit. At the end it is looked at again, as long
        as that helps: the speed is known better then, and where it is not known one is tried. None says that nothing
        comes until what is in hand is done.
        """
        while jobs:
            passed = Jobs()
            taken = yield from self._sources_of(jobs, passed)
            if not passed or self._is_ending or (self.pace.is_measured and not taken):
                return
            self._tries_one = not taken
            yield iter([None])
            while self._open_streams and not self._is_ending:
                self._ended.wait(POLL_SECONDS)
                yield iter([None])  # once more: another thread may have decoded something after the first
            jobs = passed

    def _sources_of(self, jobs: Jobs, passed: Jobs) -> Generator[Source, None, int]:
        """How many recordings were taken on; ``passed`` gets those for which there is no time."""
        taken = 0
        for job in jobs:
            if self.stop.draining or self.gave_up:
                return taken
            began = perf_counter()
            try:
                recording = probe(job.source, self.options.max_hours)
                if not self._fits(recording.seconds):
                    passed.add([job])
                    continue
                stream = self._open(job, recording)
                stream.seconds.add("open", perf_counter() - began)
            except Exception as error:
                yield iter([Broken(job, None, error)])
            else:
                taken += 1
                yield self._pieces(stream)
        return taken

    def _pieces(self, stream: RecordingStream) -> Iterator[StreamPiece | Broken]:
        try:
            yield from stream.pieces()
        except Exception as error:
            yield Broken(stream.job, stream, error)

    def _fits(self, seconds: float) -> bool:
        tries, self._tries_one = self._tries_one, False
        return self.stop.fits(0.0 if tries else self.pace.seconds_for(seconds))

    @property
    def _is_ending(self) -> bool:
        return self.stop.draining or self.gave_up or self._ended.is_set()

    def _open(self, job: Job, recording: Recording) -> RecordingStream:
        content = fingerprint(job.source)
        rate = self.bundle.spectral.sample_rate
        said = provenance(self.bundle, self.settings, content.sha256)
        stream = RecordingStream(job, recording, content, self.output / job.relative, self.settings, rate, said)
        relative = stream.writer.target.relative_to(self.output)
        self._refuse_taken(job, relative)
        self.manifest.start(
            job.relative,
            job.source,
            content,
            settings_key=self.key,
            weights_sha256=self.bundle.weights_sha256,
            output=relative,
        )
        self._open_streams.add(stream)
        self.pace.take(stream, recording.seconds)
        self.listener.began(job, recording)
        return stream

    def _refuse_taken(self, job: Job, relative: Path) -> None:
        """RecordingError where the name of a result is another one's, or that of a file that is not ours.

        Ours is what has a report beside it, or was started on before: a kill may come between result and report.
        TakenError where the recording's own place is that of another one's result.
        """
        remedy = "rename one of them, or choose another -o"
        row, owner = self.manifest.get(job.relative), self.manifest.owner_of(relative)
        if row is not None and row.state is State.DONE and is_another(row.source, job.source):
            raise TakenError(job.source, f"its result would replace that of {row.source}", remedy)
        if relative != job.relative and (self._found.holds(relative) or self.manifest.get(relative)):
            raise RecordingError(job.source, f"its result would be named like that of {relative}", "rename one of them")
        if owner not in (None, job.relative):
            raise RecordingError(job.source, f"its result would replace that of {owner}", remedy)
        target = self.output / relative
        if os.path.lexists(target) and (row is None or row.output != relative):
            if not os.path.lexists(sidecar_path(target)):
                problem = f"its result would replace {target}, which exdiff did not make"
                raise RecordingError(job.source, problem, "move that away, or choose another -o")
            other = _source_of(target)
            if other is not None and is_another(other, job.source):
                raise RecordingError(job.source, f"its result would replace that of {other}", remedy)

    def _batches(self, items: Iterable[StreamPiece | Broken | None], size: int) -> Iterator[list[StreamPiece]]:
        """Group pieces, of whatever recordings, by ``size``; what is broken is reported on the way.

        None is passed on as an empty batch, after all that came before it.
        """
        batch: list[StreamPiece] = []
        for item in items:
            if isinstance(item, Broken):
                self._fail(item.job, item.error, item.stream)
            elif item is not None and not item.stream.failed:
                batch.append(item)
            if len(batch) == size or (item is None and batch):
                yield batch
                batch = []
            if item is None:
                yield []
        if batch:
            yield batch

    def _advance(self, batch: list[StreamPiece], made: Batch) -> list[RecordingStream]:
        """Hand each piece of a batch back; returns the streams that are complete now."""
        complete = []
        for item, enhanced in zip(batch, made.results, strict=True):
            stream = item.stream
            for stage, seconds in made.seconds.items():
                stream.seconds.add(stage, seconds / len(batch))
            if stream.failed:
                continue
            try:
                if isinstance(enhanced, NoMemoryError):
                    raise enhanced
                if stream.accept(item, enhanced):
                    complete.append(stream)
            except Exception as error:
                self._fail(stream.job, error, stream)
            self._advanced(stream, stream.advance_seconds(item))
        return complete

    def _advanced(self, stream: RecordingStream, seconds: float) -> None:
        self.pace.finish(stream, seconds)
        self.listener.advanced(seconds)

    def _publish(self, stream: RecordingStream) -> None:
        """Audio, then report, then commit: whatever is committed is there, whole.

        Where one of them fails, so do those before it. What most often does, scoring, comes before them all.
        """
        job, target = stream.job, stream.writer.target
        try:
            report = complete(stream, self.placement.enhancer, self.stop.raise_if_over)
            stream.publish()
            with _vouched_for(target), stream.seconds.timing("write"):
                sidecar = sidecar_path(target)
                publish_text(sidecar, to_json(report))
                self.manifest.finish(
                    job.relative,
                    output=target.relative_to(self.output),
                    output_size=report.output.bytes,
                    output_sha256=report.output.sha256,
                    timings=report.seconds,
                    output_mtime_ns=target.stat().st_mtime_ns,
                    report_sha256=file_sha256(sidecar),
                )
        except AbandonedError:
            pass  # it stays open, and is put back with all that is
        except Exception as error:
            self._fail(job, error, stream)
        else:
            with self._counting:
                self._refusals = 0
            self._let_go(stream)
            with self._counting:
                self.result.add_work(stream.seconds)
            self._end(Outcome(job, target, report))

    def _fail(self, job: Job, error: Exception, stream: RecordingStream | None) -> None:
        """Whatever is wrong with one recording, the others go on; what is wrong with the run is raised."""
        if stream is not None:
            if stream.failed:
                return
            self._drop(stream)
        if isinstance(error, ExdiffError) and not isinstance(error, RecordingError):
            raise error
        with self._counting:
            self._refusals += isinstance(error, OutputError) and error.disk
        message = _explain(job, error)
        if isinstance(error, TakenError):  # the row is the other's
            return self._end(Outcome(job, error=message))
        gone = stream is not None and not os.path.lexists(stream.writer.target)
        if isinstance(error, GateError) and stream is not None and not gone:
            message += f"; {stream.writer.target} is an earlier result, of other settings"
        self.manifest.fail(job.relative, job.source, message, output_gone=gone)
        self._end(Outcome(job, error=message, gated=isinstance(error, GateError)))

    def _drop(self, stream: RecordingStream) -> None:
        stream.discard()
        self._let_go(stream)

    def _let_go(self, stream: RecordingStream) -> None:
        self._open_streams.discard(stream)
        self.pace.drop(stream)

    def _end(self, outcome: Outcome) -> None:
        with self._counting:
            self.result.add(outcome)
            self.listener.ended(outcome)


def _source_of(target: Path) -> str | None:
    """What a result was made of, by the report beside it."""
    try:
        return read_sidecar(sidecar_path(target)).input.path
    except RecordingError:
        return None


def _explain(job: Job, error: Exception) -> str:
    if isinstance(error, RecordingError):
        return str(error)
    if isinstance(error, OSError):
        return f"{job.source}: {error}; check the disk"
    if isinstance(error, NoMemoryError):
        remedy = "end what else takes memory, then run again"
        return f"{job.source}: there is too little memory for one segment of it ({error}); {remedy}"
    return f"{job.source}: internal error: {type(error).__name__}: {error}; please report it"


@contextmanager
def set_at_the_end(event: Event) -> Iterator[None]:
    """Whoever waits for something that will not come now is told."""
    try:
        yield
    finally:
        event.set()
