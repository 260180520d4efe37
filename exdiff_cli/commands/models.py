"""`exdiff models`: which bundles there are; `exdiff adapt` and `exdiff bundle`: bundles of one's own."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer

from exdiff_cli.commands.options import (
    BatchOption,
    BundleOption,
    DeviceOption,
    JsonLinesOption,
    RateOption,
    SeedOption,
    ThreadsOption,
    change,
    choose_device,
    say,
)
from exdiff_cli.discover import discover
from exdiff_cli.errors import ExitCode, UsageError
from exdiff_cli.settings import DEFAULT_BUNDLE, Settings
from exdiff_cli.stdout import print_json, print_table, print_text


def models(as_json: JsonLinesOption = False) -> None:
    """List the model bundles that ship, with the hashes of their weights checked; code 2 if one is broken."""
    from exdiff_cli.models import list_models, models_table

    found = list_models()
    if as_json:
        for model in found:
            print_json(model.as_json())
    else:
        print_table(models_table(found))
    raise typer.Exit(ExitCode.USAGE if any(model.problem for model in found) else ExitCode.OK)


def adapt(
    paths: Annotated[list[Path], typer.Argument(help="Recordings of the site, or folders of them.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder of the new bundle.")],
    bundle: BundleOption = DEFAULT_BUNDLE,
    max_time: Annotated[str, typer.Option(help="Training time, as 15m or 1h.")] = "30m",
    data: Annotated[
        Path | None, typer.Option(help="Data directory to take clean speech from. (default: shipped)")
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
    from exdiff_cli.audio.io import AUDIO_SUFFIXES
    from exdiff_cli.bundle import load_bundle
    from exdiff_cli.training.adapt import adapt_to
    from exdiff_cli.training.run import train_options

    if out.exists():
        raise UsageError(f"{out}: exists; name a new folder for the adapted bundle")
    found = discover(paths, None, AUDIO_SUFFIXES)
    options = train_options(
        out, max_time, max_time, False, None, batch, 2.0, learning_rate, seed, choose_device(device)
    )
    result = adapt_to([job.source for job in found.jobs], load_bundle(bundle), data, options, out, say)
    if not result.share:
        say("no better on the site's noise without getting worse elsewhere: nothing was written")
        raise typer.Exit(ExitCode.QUALITY_GATE)
    site, fixed = (
        f"{first:.4f} to {second:.4f}"
        for first, second in zip(astuple(result.before), astuple(result.after), strict=True)
    )
    print_text(f"{out}: {result.share:.0%} of what was learnt; score on the site's noise {site}, elsewhere {fixed}")


def bundle_command(
    extract: Annotated[Path, typer.Option(help="Trained separator, *.safetensors.")],
    diffuse: Annotated[Path, typer.Option(help="Diffusion model trained on it, *.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    steps: Annotated[int | None, typer.Option(min=0, help="Default steps. (default: as trained)")] = None,
    start: Annotated[float | None, typer.Option(help="Time of the warm start. (default: as trained)")] = None,
    sampler_strength: Annotated[
        float | None,
        typer.Option(help="How far to go from Extract's estimate to Diffuse's sample, 0 to 1. (default: as trained)"),
    ] = None,
    by_example: Annotated[
        Path | None, typer.Option(help="Separator that is asked by example, *.safetensors, for `--query FOLDER`.")
    ] = None,
) -> None:
    """Make a bundle of trained models, for `enhance --bundle FOLDER`."""
    from exdiff_cli.bundle import load_bundle, read_trained, write_bundle
    from exdiff_cli.diffuse.generate import SamplerConfig

    read_trained(extract, "extract")
    trained = SamplerConfig(**read_trained(diffuse, "diffuse")[1]["sampler"])
    sampler = change(trained, steps=steps, start=start, strength=sampler_strength)
    Settings(sampler)  # Refuses what no run could use.
    write_bundle(out, extract, diffuse, sampler, by_example)
    load_bundle(str(out))
    print_text(str(out))
