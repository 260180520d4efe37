"""`exdiff enhance`: from options to a run, and what it prints."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from exdiff_cli import logs
from exdiff_cli.audio.limits import MOST_HOURS
from exdiff_cli.commands.options import (
    BundleOption,
    DevicesOption,
    GraceOption,
    JsonLinesOption,
    LockWaitOption,
    LogFormatOption,
    MaxHoursOption,
    PrecisionOption,
    PresetOption,
    QueryOption,
    QuietOption,
    SegmentsOption,
    StepsOption,
    ThreadsOption,
    VerboseOption,
    check_price,
    choose_resources,
    make_settings,
    preset_steps,
    say,
)
from exdiff_cli.commands.report import ReportOption, report_run
from exdiff_cli.discover import DASH, Discovery, default_output, discover, discover_listed, read_list
from exdiff_cli.errors import ExdiffError, NoInputError, UsageError
from exdiff_cli.jobs import Jobs
from exdiff_cli.loading import uncollected
from exdiff_cli.selection import Selection, parse_newer_than, parse_shard
from exdiff_cli.settings import DEFAULT_BUNDLE, SPEECH, OnRisk, Precision, Ratings, Resources, Settings
from exdiff_cli.stdout import print_json, print_table
from exdiff_cli.stopping import Stop, on_signals, parse_deadline, parse_duration
from exdiff_cli.storage import Storage, parse_bit_rate

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from exdiff_cli.bundle import Bundle
    from exdiff_cli.engine import RunOptions, RunResult

log = logging.getLogger(__name__)

SIGNING_WAIT = 60.0
"""Seconds: runs over other parts may be signing the folder, too."""


def make_stop(deadline: str | None, max_duration: str | None, grace: str) -> Stop:
    """When the run ends at the latest, counted from now."""
    limits = []
    if deadline is not None:
        limits.append(parse_deadline(deadline, datetime.now().astimezone()))
    if max_duration is not None:
        limits.append(parse_duration(max_duration, "--max-duration"))
    ends = time.monotonic() + min(limits) if limits else None
    return Stop(deadline=ends, grace=parse_duration(grace, "--grace"))


def find_recordings(
    paths: list[Path], files_from: str | None, null: bool, output: Path | None, selection: Selection
) -> tuple[Discovery, Path]:
    """What is to be enhanced and where to; :class:`UsageError` where the call does not say."""
    from exdiff_cli.audio.io import AUDIO_SUFFIXES

    if files_from is None:
        if not paths:
            raise UsageError("enhance: name recordings or folders, or a list of them with --files-from")
        target = output or default_output(paths)
        found = discover(paths, target, AUDIO_SUFFIXES)
    else:
        if paths or output is None:
            raise UsageError("--files-from: takes the place of paths, and needs an output folder, -o")
        target, found = output, discover_listed(open_list(files_from, null), output)
    wanted = selection.of(found.jobs)
    if not wanted:
        raise NoInputError(
            f"none of {len(found.jobs)} recordings is selected; see --include, --exclude, --newer-than, --shard"
        )
    return Discovery(wanted, found.problems), target


def open_list(name: str, null: bool) -> Iterator[Path]:
    """The paths of a list, ``-`` for stdin; :class:`UsageError` where it cannot be read."""
    if name == "-":
        if sys.stdin is None:
            raise UsageError("--files-from -: stdin is closed; send a list into it")
        yield from read_list(sys.stdin.buffer, null)
        return
    try:
        with Path(name).open("rb") as file:
            yield from read_list(file, null)
    except OSError as error:
        raise UsageError(f"--files-from {name}: cannot be read ({error.strerror}); name a file, or -") from error


def enhance(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings, or folders of them; - for one from stdin to stdout.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Where to write; with - a file. (default: INPUT-enhanced beside the input)"
        ),
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(help="A file with a path a line, or - for stdin, in place of paths; needs -o.")
    ] = None,
    null: Annotated[bool, typer.Option("-0", "--null", help="Paths in that list end with a zero byte.")] = False,
    include: Annotated[list[str] | None, typer.Option(help="Only what matches this pattern; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not what matches this pattern; may be repeated.")] = None,
    newer_than: Annotated[str | None, typer.Option(help="Only what was changed since: 36h, 7d, 2026-05-31.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how long it takes.")] = False,
    price_per_hour: Annotated[
        float | None, typer.Option(help="What an hour costs, for --dry-run and run.json.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only part K of N, 3/16: disjoint, stable, beside others in one output folder.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Only what failed before.")] = False,
    max_failures: Annotated[int | None, typer.Option(min=1, help="Give up when so many recordings failed.")] = None,
    max_hours: MaxHoursOption = MOST_HOURS,
    lock_wait: LockWaitOption = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    preset: PresetOption = None,
    steps: StepsOption = None,
    latents: Annotated[bool, typer.Option(help="Let Diffuse see what Extract found.")] = True,
    query: QueryOption = SPEECH,
    skip_silence: Annotated[
        bool, typer.Option(help="Spare the sampler where nobody speaks, and take Extract's estimate there.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Another seed draws another sample.")] = 0,
    on_risk: Annotated[
        OnRisk,
        typer.Option(
            help="Where the sampler is not trusted: fallback to Extract's estimate, keep-original, flag only, or fail."
        ),
    ] = OnRisk.FALLBACK,
    draws: Annotated[
        int, typer.Option(help="Sample so often; how far the draws are apart goes into report and guard.")
    ] = 1,
    strength: Annotated[float, typer.Option(help="Mix the recording back: 1 is none of it, 0 nothing else.")] = 1.0,
    min_gain: Annotated[
        float | None, typer.Option(help="End with code 6 if results gain less DNSMOS overall than this on average.")
    ] = None,
    min_ovrl: Annotated[
        float | None, typer.Option(help="End with code 6 if results have less DNSMOS overall than this on average.")
    ] = None,
    loudness: Annotated[
        float | None, typer.Option(help="Bring results to this loudness, -23 LUFS. (default: as they come out)")
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="Store results as wav, flac, mp3, m4a … (default: as the recording)")
    ] = None,
    subtype: Annotated[
        str | None, typer.Option(help="Store samples as PCM_16, PCM_24, FLOAT, ULAW … (default: as the recording)")
    ] = None,
    bitrate: Annotated[
        str | None, typer.Option(help="Of MP3, Opus and AAC, as 64k, all channels together. (default: the recording's)")
    ] = None,
    keep_time: Annotated[bool, typer.Option(help="Give results the modification times of their recordings.")] = True,
    extend_band: Annotated[
        bool, typer.Option("--extend-band", help="Make up what telephones leave out above 4 kHz; stored at 16 kHz.")
    ] = False,
    sign_key: Annotated[
        Path | None, typer.Option(help="Sign the output folder with this private key at the end; see exdiff sign.")
    ] = None,
    batch: SegmentsOption = None,
    precision: PrecisionOption = Precision.FLOAT32,
    ratings: Annotated[
        Ratings, typer.Option(help="Let DNSMOS rate all recordings, or of short ones only some, for speed.")
    ] = Ratings.ALL,
    deadline: Annotated[
        str | None, typer.Option(help="Be done by then: 06:00, or 2026-05-31T06:00; what does not fit is left.")
    ] = None,
    max_duration: Annotated[str | None, typer.Option(help="Be done after so long: 5h, 90m.")] = None,
    grace: GraceOption = "30s",
    report: ReportOption = True,
    device: DevicesOption = "auto",
    threads: ThreadsOption = 0,
    as_json: JsonLinesOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """Clean recordings into a folder of their own; what is done already is left alone, originals always are."""
    from exdiff_cli.gates import Gates, reports_of, shortfalls
    from exdiff_cli.signing import load_private_key

    stop = make_stop(deadline, max_duration, grace)
    part = parse_shard(shard) if shard else None
    age = parse_newer_than(newer_than, time.time()) if newer_than else None
    selection = Selection(tuple(include or ()), tuple(exclude or ()), age, part)
    check_price(price_per_hour)
    lock_seconds = parse_duration(lock_wait, "--lock-wait") if lock_wait else 0.0
    gates = Gates(min_gain, min_ovrl)
    signer = load_private_key(sign_key) if sign_key is not None else None
    is_stream = DASH in (paths or [])
    if is_stream:
        found, target = Discovery(Jobs()), output or DASH
    else:
        found, target = find_recordings(paths or [], files_from, null, output, selection)

    with uncollected():
        from exdiff_cli.bundle import load_bundle
        from exdiff_cli.engine import RunOptions, enhance_found
        from exdiff_cli.follow import following
        from exdiff_cli.pipe import check_pipe, enhance_stream
        from exdiff_cli.query import ask

    if is_stream:
        for_folders = {
            "--files-from": files_from,
            "--dry-run": dry_run,
            "--retry-failed": retry_failed,
            "--shard": shard,
            "--include": include,
            "--exclude": exclude,
            "--newer-than": newer_than,
            "--null": null,
            "--price-per-hour": price_per_hour,
            "--sign-key": sign_key,
        }
        check_pipe(paths or [], output, as_json, for_folders)
    run_options = RunOptions(
        stop=stop,
        max_failures=max_failures,
        only_failed=retry_failed,
        part=part.name if part else "",
        lock_wait=lock_seconds,
        max_hours=max_hours,
    )
    loaded, query = ask(load_bundle(bundle), query)
    loaded = loaded.computing_in(precision)
    settings = make_settings(
        loaded,
        preset_steps(preset, steps),
        query,
        seed=seed,
        use_latents=latents,
        skip_silence=skip_silence,
        on_risk=on_risk,
        draws=draws,
        strength=strength,
        loudness=loudness,
        extend_band=extend_band,
        precision=precision,
        ratings=ratings,
        storage=Storage(file_format, subtype, parse_bit_rate(bitrate) if bitrate else None, keep_time),
    )
    resources = choose_resources(device, batch)
    resources.check_precision(precision)
    if dry_run:
        return show_estimate(found, target, loaded, settings, resources, run_options, price_per_hour, as_json)
    with following(as_json) as listener:
        if is_stream:
            result = enhance_stream(target, loaded, settings, resources, listener, run_options)
        else:
            with on_signals(stop, log.warning):
                result = enhance_found(found, target, loaded, settings, resources, listener, run_options)
    if gates:
        done = (outcome.report for outcome in result.done if outcome.report)
        result.shortfalls = shortfalls(gates, done if is_stream else reports_of(target))
    if report and not is_stream:
        report_run(result, price_per_hour)
    if signer is not None:
        sign_run(result, signer)
    show_result(result, as_json)
    raise typer.Exit(result.exit_code)


def sign_run(result: RunResult, signer: Ed25519PrivateKey) -> None:
    """Sign the folder at the end of a run. Whatever goes wrong with it is a problem of the run."""
    from exdiff_cli.signing import sign

    try:
        say(f"exdiff: {sign(result.output, signer, SIGNING_WAIT)} results signed")
    except ExdiffError as error:
        result.problems.append(f"not signed: {error}")


def show_result(result: RunResult, as_json: bool) -> None:
    """Print what came of a run, once its recordings are told; nothing beside audio that went to stdout."""
    from exdiff_cli.engine import REFUSALS
    from exdiff_cli.summary import run_table, summary_json

    for problem in result.problems:
        log.error("failed: %s", problem)
    for shortfall in result.shortfalls:
        log.error("failed: %s", shortfall)
    if result.left:
        signal_name = result.stopped_by.name if result.stopped_by else ""
        disk = f"{result.output}: its disk refused {REFUSALS} results in a row, make room or mend it"
        refused = disk if result.refused else ""
        why = signal_name or refused or ("too many failed" if result.gave_up else "no time")
        command = shlex.join(["exdiff", *sys.argv[1:]])
        log.warning("%s: %d left to do; go on with: %s", why, result.left, command)
    if as_json:
        print_json(summary_json(result))
    elif result.output != DASH and not logs.is_quiet():
        print_table(run_table(result))


def show_estimate(
    found: Discovery,
    target: Path,
    bundle: Bundle,
    settings: Settings,
    resources: Resources,
    options: RunOptions,
    price_per_hour: float | None,
    as_json: bool,
) -> None:
    """Print what a run would do."""
    from exdiff_cli.dry_run import estimate, estimate_table, looked_up, measure_load

    with (
        tqdm(total=len(found.jobs), desc="looking", unit="file", disable=logs.no_bar(), leave=False) as bar,
        looked_up(target, options, settings, bundle) as is_wanted,
    ):
        load = measure_load(found.jobs, is_wanted, settings, bar.update, options.max_hours)
    result = estimate(load, target, bundle, settings, resources, price_per_hour)
    if as_json:
        print_json(result.as_json())
    else:
        print_table(estimate_table(result))
