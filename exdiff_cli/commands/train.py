"""`exdiff train`: models of one's own."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exdiff_cli.commands.options import (
    BatchOption,
    DeviceOption,
    RateOption,
    SeedOption,
    ThreadsOption,
    change,
    choose_device,
)
from exdiff_cli.errors import StoppedError, UsageError
from exdiff_cli.settings import DEFAULT_BUNDLE
from exdiff_cli.stdout import print_text
from exdiff_cli.training.objective import Objective

if TYPE_CHECKING:
    from exdiff_cli.training.trainer import Task, TrainOptions

log = logging.getLogger(__name__)

train = typer.Typer(no_args_is_help=True, help="Train a model on your own data; stop and --resume at any time.")

DataOption = Annotated[Path, typer.Option(help="Folder with speech/train, speech/valid and noise.")]
OutOption = Annotated[Path, typer.Option(help="Run folder: checkpoints, weights, log.")]
TimeOption = Annotated[str, typer.Option(help="Training time in all sittings, as 90m, 2h or 5400s.")]
EveryOption = Annotated[str, typer.Option(help="Training time between two validations.")]
ResumeOption = Annotated[bool, typer.Option(help="Go on from the last checkpoint.")]
ExponentOption = Annotated[float, typer.Option(min=0.1, max=1.0, help="Amplitude exponent of the loss.")]
PitchOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the loss that lies where the ear tells pitches apart.")
]
RelativeOption = Annotated[
    bool, typer.Option("--loss-relative", help="Halving a mixture's error counts alike, however much there is of it.")
]
MissingOption = Annotated[
    float, typer.Option(min=0.1, help="Weight of sound that is missing in the loss, against sound that is too loud.")
]
LoudnessOption = Annotated[
    float, typer.Option(min=0, help="Weight of an error of loudness in bands of hearing, beside that of single bins.")
]
DisturbanceOption = Annotated[float, typer.Option(min=0, help="Weight of what PESQ's model of a listener minds.")]
ChoiceOption = Annotated[
    str, typer.Option(help="What best.safetensors is best by: loss, or hearing: PESQ and DNSMOS, with the extra eval.")
]
SecondsOption = Annotated[float, typer.Option(min=0.5, max=30, help="Length of the mixtures, in seconds.")]
InitOption = Annotated[Path | None, typer.Option(help="Weights to begin with, as a bundle's *.safetensors.")]


def run(build: Callable[[], Task], data: Path, options: TrainOptions, for_diffuse: bool) -> None:
    """Train; where a signal ends it, say how to go on."""
    from exdiff_cli.training.run import begin

    try:
        begin(build, data, options, for_diffuse)
    except StoppedError:
        command = ["exdiff", *sys.argv[1:], *([] if options.resume else ["--resume"])]
        log.warning("%s: is saved; go on with: %s", options.out, shlex.join(command))
        raise


@train.command("extract")
def train_extract(
    data: DataOption,
    out: OutOption,
    preset: Annotated[str, typer.Option(help="small, or base: as published, for GPUs.")] = "small",
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Dual-path blocks of small; --init may have fewer. (default: 2)")
    ] = None,
    max_time: TimeOption = "90m",
    validate_every: EveryOption = "20m",
    resume: ResumeOption = False,
    init: InitOption = None,
    batch: BatchOption = 8,
    seconds: SecondsOption = 2.0,
    learning_rate: RateOption = 1.5e-3,
    loss_exponent: ExponentOption = Objective.exponent,
    loss_by_pitch: PitchOption = Objective.by_pitch,
    loss_relative: RelativeOption = Objective.relative,
    loss_missing: MissingOption = Objective.missing,
    loss_loudness: LoudnessOption = Objective.loudness,
    loss_disturbance: DisturbanceOption = Objective.disturbance,
    choose_by: ChoiceOption = "loss",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Train the separator."""
    from exdiff_cli.extract.resunet import ResUNetConfig
    from exdiff_cli.presets import find_preset
    from exdiff_cli.training.extract import ExtractTask
    from exdiff_cli.training.run import is_by_ear, train_options

    options = train_options(
        out, max_time, validate_every, resume, init, batch, seconds, learning_rate, seed, choose_device(device)
    )
    size = find_preset(preset)
    network = size.separator
    if blocks is not None:
        if not isinstance(network, ResUNetConfig):
            raise UsageError(f"--blocks {blocks}: only small has dual-path blocks")
        network = replace(network, dual_path_blocks=blocks)
    weights = (loss_exponent, loss_by_pitch, loss_relative, loss_missing, loss_loudness, loss_disturbance)
    aim = Objective(*weights, by_ear=is_by_ear(choose_by))
    run(lambda: ExtractTask(network, size.spectral, aim), data, options, for_diffuse=False)


@train.command("diffuse")
def train_diffuse(
    data: DataOption,
    out: OutOption,
    extract: Annotated[
        Path | None,
        typer.Option(help="Trained separator, *.safetensors; it stays as it is. (default: the shipped bundle's)"),
    ] = None,
    max_time: TimeOption = "90m",
    validate_every: EveryOption = "20m",
    resume: ResumeOption = False,
    init: InitOption = None,
    batch: BatchOption = 8,
    seconds: SecondsOption = 2.0,
    learning_rate: RateOption = 1e-3,
    noise_scale: Annotated[
        float | None, typer.Option(help="The bridge's noise, c. (default: the shipped bundle's)")
    ] = None,
    process: Annotated[str, typer.Option(help="bridge or ouve.")] = "bridge",
    estimate: Annotated[
        bool | None, typer.Option(help="Show it the separator's estimate and start from there. (default: as preset)")
    ] = None,
    latents: Annotated[bool, typer.Option(help="Let it attend to the separator's latents.")] = True,
    latents_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the mixtures whose latents are withheld.")
    ] = 0.1,
    loss_exponent: ExponentOption = Objective.exponent,
    loss_by_pitch: PitchOption = Objective.by_pitch,
    loss_relative: RelativeOption = Objective.relative,
    loss_missing: MissingOption = Objective.missing,
    loss_loudness: LoudnessOption = Objective.loudness,
    loss_disturbance: DisturbanceOption = Objective.disturbance,
    choose_by: ChoiceOption = "loss",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Train the diffusion model on a trained separator."""
    from exdiff_cli.bundle import find_bundle
    from exdiff_cli.training.diffuse import DiffuseTask, sampler_config
    from exdiff_cli.training.run import is_by_ear, train_options, trained_separator

    options = train_options(
        out, max_time, validate_every, resume, init, batch, seconds, learning_rate, seed, choose_device(device)
    )
    separator, size = trained_separator(extract or find_bundle(DEFAULT_BUNDLE) / "extract.safetensors")
    network = change(replace(size.score_net, attend_latents=latents), concatenate_estimate=estimate)
    sampler = sampler_config(process, noise_scale, network.concatenate_estimate)
    weights = (loss_exponent, loss_by_pitch, loss_relative, loss_missing, loss_loudness, loss_disturbance)
    aim = Objective(*weights, by_ear=is_by_ear(choose_by))

    def build() -> DiffuseTask:
        return DiffuseTask(separator, sampler, network, latents_dropped, size.spectral, aim)

    run(build, data, options, for_diffuse=True)


@train.command("by-example")
def train_by_example(
    data: DataOption,
    out: OutOption,
    extract: Annotated[Path, typer.Option(help="Trained separator to begin from, *.safetensors.")],
    max_time: TimeOption = "90m",
    validate_every: EveryOption = "20m",
    resume: ResumeOption = False,
    init: InitOption = None,
    batch: BatchOption = 8,
    seconds: SecondsOption = 2.0,
    learning_rate: RateOption = 1e-3,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
) -> None:
    """Train a separator that is asked by example, for `enhance --query FOLDER`."""
    from exdiff_cli.training.by_example import ExampleTask
    from exdiff_cli.training.run import train_options, trained_separator

    options = train_options(
        out, max_time, validate_every, resume, init, batch, seconds, learning_rate, seed, choose_device(device)
    )
    separator = trained_separator(extract)[0]
    run(lambda: ExampleTask(separator), data, options, for_diffuse=False)


@train.command("band-above")
def train_band_above(
    data: DataOption, out: Annotated[Path, typer.Option(help="Weights to write; an existing file is replaced.")]
) -> None:
    """Learn how loud speech is above a telephone's band, for `enhance --extend-band`; takes half a minute."""
    from exdiff_cli.training.band_above import fit
    from exdiff_cli.training.pool import load_training_audio

    errors = fit(load_training_audio(data, for_diffuse=False), out)
    print_text(f"{out}: off by {errors.of_the_network} dB in its bands; the mean of all by {errors.of_the_mean}")


@train.command("average")
def train_average(
    weights: Annotated[list[Path], typer.Argument(help="Weights of runs that began from the same, *.safetensors.")],
    out: Annotated[Path, typer.Option(help="File to write; it must be new.")],
    model: Annotated[str, typer.Option(help="What they are of: extract or diffuse.")] = "extract",
) -> None:
    """Write the mean of several runs' weights, which is often better than each."""
    from exdiff_cli.training.average import average_weights

    average_weights(weights, model, out)


@train.command("validation")
def train_validation(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new.")],
    by_example: Annotated[
        bool, typer.Option("--by-example", help="A folder a sound instead, with examples of it, for `--query`.")
    ] = False,
    sites: Annotated[
        bool, typer.Option("--sites", help="A folder a noise instead, with recordings of it, for `adapt`.")
    ] = False,
) -> None:
    """Write the fixed validation set as noisy and clean folders, for `exdiff evaluate`."""
    from exdiff_cli.training.example_scenes import write_example_set
    from exdiff_cli.training.pool import load_training_audio
    from exdiff_cli.training.site_scenes import write_site_set
    from exdiff_cli.training.validation import write_validation_set

    if by_example and sites:
        raise UsageError("--by-example and --sites: write one set at a time")
    audio = load_training_audio(data, for_diffuse=False)
    if by_example:
        print_text(f"{out}: {write_example_set(audio, out)} sounds")
    elif sites:
        print_text(f"{out}: {write_site_set(audio, out)} sites")
    else:
        print_text(f"{out}: {write_validation_set(audio, out)} mixtures")
