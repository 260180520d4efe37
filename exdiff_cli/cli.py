"""The command line: options to settings, results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import astuple, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import torch
import typer
from rich.console import Console
from tqdm import tqdm

from exdiff_cli import __version__
from exdiff_cli.audio.io import AUDIO_SUFFIXES
from exdiff_cli.bundle import Bundle, load_bundle, read_trained, write_bundle
from exdiff_cli.diffuse.generate import SamplerConfig
from exdiff_cli.discover import Discovery, default_output, discover, discover_listed, read_list
from exdiff_cli.engine import Listener, Outcome, RunOptions, enhance_found
from exdiff_cli.errors import ExdiffError, ExitCode, NoInputError, UsageError
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.presets import NetConfig, find_preset
from exdiff_cli.query import ask
from exdiff_cli.selection import Selection, parse_newer_than, parse_shard
from exdiff_cli.settings import DEFAULT_BUNDLE, PRESET_STEPS, SPEECH, Resources, Settings
from exdiff_cli.stopping import Stop, on_signals, parse_deadline, parse_duration
from exdiff_cli.summary import run_json, run_table
from exdiff_cli.text import printable

if TYPE_CHECKING:
    from exdiff_cli.scores import Scores

Config = TypeVar("Config", SamplerConfig, NetConfig)

INTERRUPTED = 130
"""What typer makes of KeyboardInterrupt: 128 + SIGINT."""

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
train = typer.Typer(no_args_is_help=True, help="Train a model on your own data; stop and --resume at any time.")
app.add_typer(train, name="train")

BundleOption = Annotated[str, typer.Option("--bundle", help="Model bundle: a name or a folder.")]
StepsOption = Annotated[int | None, typer.Option(help="Diffusion steps; 0 is Extract alone. [default: the bundle's]")]
PresetOption = Annotated[
    str | None, typer.Option(help="fast, balanced or best, in place of --steps. [default: balanced]")
]
StrengthOption = Annotated[
    float | None,
    typer.Option(help="How far to go from Extract's estimate to Diffuse's sample, 0 to 1. [default: the bundle's]"),
]
QueryOption = Annotated[
    str, typer.Option(help="What to take out: speech, noise (all the rest), or what sounds like a folder of examples.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def use_threads(count: int) -> int:
    """Set torch's CPU threads as the option is read, so that no command has to."""
    if count:
        torch.set_num_threads(count)
    return count


ThreadsOption = Annotated[int, typer.Option(min=0, callback=use_threads, help="CPU threads; 0 leaves it to torch.")]


def say(message: str) -> None:
    """One line to stderr, beside any progress bar."""
    tqdm.write(printable(message), file=sys.stderr)


def choose_device(name: str) -> str:
    """Resolve ``auto``; :class:`UsageError` for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.split(":")[0] == "cuda" and torch.cuda.is_available()):
        raise UsageError(f"--device {name}: not available here; use cpu")
    return name


def change(config: Config, **values: float | None) -> Config:
    """A config with those values that are given."""
    return replace(config, **{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]


def preset_steps(preset: str | None, steps: int | None) -> int | None:
    """The steps that were asked for, by name or by number; :class:`UsageError` for both, or for no such name."""
    if preset is None:
        return steps
    if steps is not None:
        raise UsageError(f"--preset {preset} --steps {steps}: a preset is a number of steps; give one of the two")
    if preset not in PRESET_STEPS:
        raise UsageError(f"--preset {preset}: there is {', '.join(PRESET_STEPS)}")
    return PRESET_STEPS[preset]


def make_settings(
    bundle: Bundle,
    steps: int | None,
    seed: int,
    latents: bool,
    query: str = SPEECH,
    strength: float | None = None,
) -> Settings:
    """The bundle's sampler with what was asked for; whatever is not speech is for Extract alone."""
    if steps is None and query != SPEECH:
        steps = 0
    sampler = change(bundle.sampler, steps=steps, strength=strength)
    return Settings(sampler=sampler, seed=seed, use_latents=latents, query=query)


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
    return Discovery(tuple(wanted), found.problems), target


def open_list(name: str, null: bool) -> list[Path]:
    """The paths of a list, ``-`` for stdin; :class:`UsageError` where it cannot be read."""
    if name == "-":
        return read_list(sys.stdin.buffer, null)
    try:
        with Path(name).open("rb") as file:
            return read_list(file, null)
    except OSError as error:
        raise UsageError(f"--files-from {name}: cannot be read ({error.strerror}); name a file, or -") from error


@app.command()
def enhance(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Recordings, or folders of them.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where to write. [default: INPUT-enhanced beside the input]"),
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(help="A file with a path a line, or - for stdin, in place of paths; needs -o.")
    ] = None,
    null: Annotated[bool, typer.Option("-0", "--null", help="Paths in that list end with a zero byte.")] = False,
    include: Annotated[list[str] | None, typer.Option(help="Only what matches this pattern; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not what matches this pattern; may be repeated.")] = None,
    newer_than: Annotated[str | None, typer.Option(help="Only what was changed since: 36h, 7d, 2026-05-31.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how long it takes.")] = False,
    price_per_hour: Annotated[float | None, typer.Option(min=0, help="With --dry-run: what an hour costs.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only part K of N, 3/16: disjoint, stable, beside others in one output folder.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Only what failed before.")] = False,
    max_failures: Annotated[int | None, typer.Option(min=1, help="Give up when so many recordings failed.")] = None,
    lock_wait: Annotated[
        str | None, typer.Option(help="Wait so long, 10m, while another run holds the output folder.")
    ] = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    preset: PresetOption = None,
    steps: StepsOption = None,
    strength: StrengthOption = None,
    latents: Annotated[bool, typer.Option(help="Let Diffuse see what Extract found.")] = True,
    query: QueryOption = SPEECH,
    seed: Annotated[int, typer.Option(help="Another seed draws another sample.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Segments a batch; changes memory, never a result.")] = 4,
    deadline: Annotated[
        str | None, typer.Option(help="Be done by then: 06:00, or 2026-05-31T06:00; what does not fit is left.")
    ] = None,
    max_duration: Annotated[str | None, typer.Option(help="Be done after so long: 5h, 90m.")] = None,
    grace: Annotated[str, typer.Option(help="Time for what is in hand after SIGINT or SIGTERM.")] = "30s",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print failures only.")] = False,
) -> None:
    """Clean recordings into a folder of their own; what is done already is left alone, originals always are."""
    stop = make_stop(deadline, max_duration, grace)
    part = parse_shard(shard) if shard else None
    age = parse_newer_than(newer_than, time.time()) if newer_than else None
    selection = Selection(tuple(include or ()), tuple(exclude or ()), age, part)
    run_options = RunOptions(
        stop=stop,
        max_failures=max_failures,
        only_failed=retry_failed,
        part=part.name if part else "",
        lock_wait=parse_duration(lock_wait, "--lock-wait") if lock_wait else 0.0,
    )
    found, target = find_recordings(paths or [], files_from, null, output, selection)
    loaded, query = ask(load_bundle(bundle), query)
    settings = make_settings(loaded, preset_steps(preset, steps), seed, latents, query, strength)
    resources = Resources(choose_device(device), batch)
    if dry_run:
        return show_estimate(found, target, loaded, settings, resources, run_options.part, price_per_hour, as_json)
    with tqdm(unit="s", unit_scale=True, desc="enhancing", disable=True if quiet else None, leave=False) as bar:

        def planned(pending: int, total: int) -> None:
            bar.set_postfix_str(f"{pending} of {total} recordings to do")

        def ended(outcome: Outcome) -> None:
            if outcome.error:
                say(f"failed: {outcome.error}")

        def advanced(seconds: float) -> None:
            bar.update(seconds)

        listener = Listener(planned, advanced, ended)
        with on_signals(stop, say):
            result = enhance_found(found, target, loaded, settings, resources, listener, run_options)
    for problem in result.problems:
        say(f"failed: {problem}")
    if result.left:
        signal_name = result.stopped_by.name if result.stopped_by else ""
        why = signal_name or ("too many failed" if result.gave_up else "no time")
        say(f"{why}: {result.left} left to do; go on with: {shlex.join(['exdiff', *sys.argv[1:]])}")
    if as_json:
        typer.echo(run_json(result))
    elif not quiet:
        Console().print(run_table(result))
    raise typer.Exit(result.exit_code)


def show_estimate(
    found: Discovery,
    target: Path,
    bundle: Bundle,
    settings: Settings,
    resources: Resources,
    part: str,
    price_per_hour: float | None,
    as_json: bool,
) -> None:
    """Print what a run would do."""
    from exdiff_cli.dry_run import done_in, estimate, estimate_table, measure_load

    with tqdm(total=len(found.jobs), desc="looking", unit="file", disable=None, leave=False) as bar:
        load = measure_load(found.jobs, done_in(target, part, settings, bundle), bar.update)
    result = estimate(load, target, bundle, settings, resources, price_per_hour)
    if as_json:
        typer.echo(json.dumps(result.as_json()))
    else:
        Console().print(estimate_table(result))


@app.command()
def evaluate(
    noisy: Annotated[Path, typer.Argument(help="Folder of noisy recordings, or of a whole set.")],
    clean: Annotated[Path | None, typer.Argument(help="Folder of clean ones of the same names.")] = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    steps: Annotated[str | None, typer.Option(help="Steps to compare, as 1,2,4. [default: the bundle's]")] = None,
    measures: Annotated[str | None, typer.Option(help="Groups of measures, as pesq,dnsmos. [default: all]")] = None,
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
    from exdiff_cli.datasets import find_pairs
    from exdiff_cli.evaluate import Comparison
    from exdiff_cli.evaluate import evaluate as run_evaluation
    from exdiff_cli.measures.against_clean import choose_groups

    pairs = find_pairs(noisy, clean)
    loaded, query = ask(load_bundle(bundle), query)
    settings = make_settings(loaded, None, seed, True, query)
    counts = parse_steps(steps) if steps else [settings.sampler.steps] if settings.sampler.steps else []
    others = [load_bundle(name) for name in against or ()]
    if len({loaded.name, *(other.name for other in others)}) <= len(others):
        raise UsageError("--against: two bundles are named alike; give their folders different names")
    comparison = Comparison(counts, choose_groups(measures), latents, others)
    with tqdm(total=len(pairs), desc="evaluating", unit="pair", disable=None, leave=False) as bar:
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
        typer.echo(json.dumps(scores_json(scores), indent=2))
        return
    for table in score_tables(scores):
        Console().print(table)


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


DataOption = Annotated[Path, typer.Option(help="Folder with speech/train, speech/valid and noise.")]
OutOption = Annotated[Path, typer.Option(help="Run folder: checkpoints, weights, log.")]
TimeOption = Annotated[str, typer.Option(help="Training time in all sittings, as 90m, 2h or 5400s.")]
ResumeOption = Annotated[bool, typer.Option(help="Go on from the last checkpoint.")]
InitOption = Annotated[Path | None, typer.Option(help="Weights to begin with, as a bundle's *.safetensors.")]
RateOption = Annotated[float, typer.Option("--learning-rate", help="Peak learning rate.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Mixtures a batch.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the mixtures.")]


@train.command("extract")
def train_extract(
    data: DataOption,
    out: OutOption,
    preset: Annotated[str, typer.Option(help="small, or base: as published, for GPUs.")] = "small",
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Dual-path blocks of small; --init may have fewer. [default: 2]")
    ] = None,
    max_time: TimeOption = "90m",
    resume: ResumeOption = False,
    init: InitOption = None,
    batch: BatchOption = 8,
    learning_rate: RateOption = 1.5e-3,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Train the separator."""
    from exdiff_cli.training.extract import ExtractTask
    from exdiff_cli.training.run import begin, train_options

    options = train_options(out, max_time, resume, init, batch, learning_rate, seed, choose_device(device))
    size = find_preset(preset)
    network = size.separator
    if blocks is not None:
        if not isinstance(network, ResUNetConfig):
            raise UsageError(f"--blocks {blocks}: only small has dual-path blocks")
        network = replace(network, dual_path_blocks=blocks)
    begin(ExtractTask(network, size.spectral), data, options, for_diffuse=False)


@train.command("diffuse")
def train_diffuse(
    data: DataOption,
    out: OutOption,
    extract: Annotated[Path, typer.Option(help="Trained separator, *.safetensors; it stays as it is.")],
    max_time: TimeOption = "90m",
    resume: ResumeOption = False,
    init: InitOption = None,
    batch: BatchOption = 8,
    learning_rate: RateOption = 1e-3,
    noise_scale: Annotated[float, typer.Option(help="The bridge's noise, c.")] = SamplerConfig.noise_scale,
    process: Annotated[str, typer.Option(help="bridge or ouve.")] = "bridge",
    estimate: Annotated[
        bool | None, typer.Option(help="Show it the separator's estimate and start from there. [default: as preset]")
    ] = None,
    latents: Annotated[bool, typer.Option(help="Let it attend to the separator's latents.")] = True,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Train the diffusion model on a trained separator."""
    from exdiff_cli.training.diffuse import DiffuseTask, sampler_config
    from exdiff_cli.training.run import begin, train_options, trained_separator

    options = train_options(out, max_time, resume, init, batch, learning_rate, seed, choose_device(device))
    separator, size = trained_separator(extract)
    network = change(replace(size.score_net, attend_latents=latents), concatenate_estimate=estimate)
    sampler = sampler_config(process, noise_scale, network.concatenate_estimate)
    task = DiffuseTask(separator, sampler, network, spectral=size.spectral)
    begin(task, data, options, for_diffuse=True)


@train.command("by-example")
def train_by_example(
    data: DataOption,
    out: OutOption,
    extract: Annotated[Path, typer.Option(help="Trained separator to begin from, *.safetensors.")],
    max_time: TimeOption = "90m",
    resume: ResumeOption = False,
    init: InitOption = None,
    batch: BatchOption = 8,
    learning_rate: RateOption = 1e-3,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Train a separator that is asked by example, for `enhance --query FOLDER`."""
    from exdiff_cli.training.by_example import ExampleTask
    from exdiff_cli.training.run import begin, train_options, trained_separator

    options = train_options(out, max_time, resume, init, batch, learning_rate, seed, choose_device(device))
    begin(ExampleTask(trained_separator(extract)[0]), data, options, for_diffuse=False)


@train.command("validation")
def train_validation(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new.")],
    by_example: Annotated[
        bool, typer.Option("--by-example", help="A folder a sound instead, with examples of it, for `--query`.")
    ] = False,
) -> None:
    """Write the fixed validation set as noisy and clean folders, for `exdiff evaluate`."""
    from exdiff_cli.training.example_scenes import write_example_set
    from exdiff_cli.training.pool import load_training_audio
    from exdiff_cli.training.validation import write_validation_set

    audio = load_training_audio(data, for_diffuse=False)
    if by_example:
        typer.echo(f"{out}: {write_example_set(audio, out)} sounds")
    else:
        typer.echo(f"{out}: {write_validation_set(audio, out)} mixtures")


@app.command()
def adapt(
    paths: Annotated[list[Path], typer.Argument(help="Recordings of the site, or folders of them.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder of the new bundle.")],
    bundle: BundleOption = DEFAULT_BUNDLE,
    max_time: Annotated[str, typer.Option(help="Training time, as 15m or 1h.")] = "15m",
    data: Annotated[
        Path | None, typer.Option(help="Data directory to take clean speech from. [default: shipped]")
    ] = None,
    learning_rate: RateOption = 5e-4,
    batch: BatchOption = 8,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Fine-tune a bundle to a site's noise, learnt from where nobody speaks in its recordings.

    The new bundle is written only if it is better on that noise and not worse on the fixed validation set.
    """
    from exdiff_cli.training.adapt import adapt_to
    from exdiff_cli.training.run import train_options

    if out.exists():
        raise UsageError(f"{out}: exists; name a new folder for the adapted bundle")
    found = discover(paths, None, AUDIO_SUFFIXES)
    options = train_options(out, max_time, False, None, batch, learning_rate, seed, choose_device(device))
    result = adapt_to([job.source for job in found.jobs], load_bundle(bundle), data, options, out, say)
    if not result.share:
        say("no better on the site's noise without getting worse elsewhere: nothing was written")
        raise typer.Exit(ExitCode.QUALITY_GATE)
    site, fixed = (
        f"{first:.4f} to {second:.4f}"
        for first, second in zip(astuple(result.before), astuple(result.after), strict=True)
    )
    typer.echo(f"{out}: {result.share:.0%} of what was learnt; score on the site's noise {site}, elsewhere {fixed}")


OutputArgument = Annotated[Path, typer.Argument(help="An output folder of exdiff.")]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")]


@app.command()
def status(output: OutputArgument, as_json: JsonLinesOption = False) -> None:
    """Say how far the recordings of an output folder have come, also while a run is at it."""
    from exdiff_cli.status import read_status, status_table

    found = read_status(output)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        Console().print(status_table(found))


@app.command()
def verify(output: OutputArgument, as_json: JsonLinesOption = False) -> None:
    """Hash every result anew and name those that are not as they were made; ends with code 3 if there are any."""
    from exdiff_cli.status import read_status
    from exdiff_cli.status import verify as check

    total, count = read_status(output).counts["done"], 0
    with tqdm(total=total, desc="verifying", unit="file", disable=None, leave=False) as bar:
        for finding in check(output, bar.update):
            count += 1
            typer.echo(json.dumps(finding.as_json()) if as_json else printable(f"{finding.output}: {finding.problem}"))
    summary = {"message_type": "summary", "checked": total, "findings": count}
    typer.echo(json.dumps(summary) if as_json else f"{total} results checked, {count} not as they were made")
    raise typer.Exit(ExitCode.SOME_FAILED if count else ExitCode.OK)


@app.command("bundle")
def bundle_command(
    extract: Annotated[Path, typer.Option(help="Trained separator, *.safetensors.")],
    diffuse: Annotated[Path, typer.Option(help="Diffusion model trained on it, *.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    steps: Annotated[int | None, typer.Option(min=0, help="Default steps. [default: as trained]")] = None,
    start: Annotated[float | None, typer.Option(help="Time of the warm start. [default: as trained]")] = None,
    strength: StrengthOption = None,
    by_example: Annotated[
        Path | None, typer.Option(help="Separator that is asked by example, *.safetensors, for `--query FOLDER`.")
    ] = None,
) -> None:
    """Make a bundle of trained models, for `enhance --bundle FOLDER`."""
    read_trained(extract, "extract")
    trained = SamplerConfig(**read_trained(diffuse, "diffuse")[1]["sampler"])
    sampler = change(trained, steps=steps, start=start, strength=strength)
    Settings(sampler)  # Refuses what no run could use.
    write_bundle(out, extract, diffuse, sampler, by_example)
    load_bundle(str(out))
    typer.echo(out)


@app.command()
def picture(
    before: Annotated[Path, typer.Argument(help="The original.")],
    after: Annotated[Path, typer.Argument(help="The enhanced recording.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="PNG or SVG file.")] = Path("before-after.png"),
) -> None:
    """Draw both spectrograms, one above the other."""
    from exdiff_cli.report.picture import draw_before_after

    draw_before_after(before, after, out)
    typer.echo(out)


@app.command()
def bench(
    bundle: BundleOption = DEFAULT_BUNDLE,
    preset: PresetOption = None,
    steps: StepsOption = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the recording that is made for it.")] = 60,
    batch: Annotated[int, typer.Option(min=1)] = 4,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure real-time factor by stage and peak memory of a whole run on a generated recording."""
    from exdiff_cli.bench import bench_table, run_bench

    loaded = load_bundle(bundle)
    settings = make_settings(loaded, preset_steps(preset, steps), 0, True)
    figures = run_bench(loaded, settings, Resources(choose_device(device), batch), seconds)
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
    else:
        Console().print(bench_table(figures))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"exdiff {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Clean archives of call-centre and factory recordings; originals are never touched."""


def main() -> None:
    """Run a command; an expected error is one line on stderr and its exit code."""
    try:
        app(standalone_mode=True)
    except ExdiffError as error:
        say(f"exdiff: {error}")
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            say("exdiff: stopped; the same command goes on where it was")
        raise
    except Exception as error:
        say(f"exdiff: internal error: {type(error).__name__}: {error}; please report it")
        sys.exit(ExitCode.INTERNAL)
