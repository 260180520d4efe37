"""`exdiff bench`: how fast a whole run is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from exdiff_cli.commands.options import (
    BundleOption,
    DevicesOption,
    PrecisionOption,
    PresetOption,
    SegmentsOption,
    StepsOption,
    ThreadsOption,
    choose_resources,
    make_settings,
    preset_steps,
)
from exdiff_cli.errors import UsageError
from exdiff_cli.settings import DEFAULT_BUNDLE, Precision
from exdiff_cli.stdout import print_json, print_table

PICTURES = (".png", ".svg")
MADE = ("seconds", "files", "rate", "channels")


def bench(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings or folders of one's own, in place of what is made.", show_default=False),
    ] = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    preset: PresetOption = None,
    steps: StepsOption = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, max=1e6, help="Length of all that is made. (default: 60)")
    ] = None,
    files: Annotated[
        int | None, typer.Option(min=1, help="Cut it into so many recordings. (default: 1)", show_default=False)
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=4_000, max=192_000, help="Its sample rate in Hz. (default: 16000)")
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, max=16, help="Its channels. (default: 1)")] = None,
    scaling: Annotated[bool, typer.Option("--scaling", help="Also by threads and by batch, on a short one.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Also time the published network: 65 M parameters, 60 evaluations.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="Compare with an earlier run: a file that --json printed.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: a PNG or SVG file.")] = None,
    batch: SegmentsOption = None,
    precision: PrecisionOption = Precision.FLOAT32,
    device: DevicesOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a whole run, reports and all: real-time factor by stage, work, and peak memory."""
    check_picture(plot)
    given = zip(MADE, (seconds, files, rate, channels), strict=True)
    made: dict[str, Any] = {name: value for name, value in given if value is not None}
    if paths and made:
        raise UsageError(f"--{next(iter(made))}: is for what is made; leave it out where recordings are named")
    from exdiff_cli.bench.against import read_stored
    from exdiff_cli.bench.archive import MadeArchive
    from exdiff_cli.bench.table import bench_table
    from exdiff_cli.bench.whole import Wanted
    from exdiff_cli.bench.whole import bench as measure
    from exdiff_cli.bundle import load_bundle

    stored = read_stored(against) if against is not None else None
    wanted = Wanted(MadeArchive(**made), tuple(paths or ()), scaling, published, stored)
    loaded = load_bundle(bundle).computing_in(precision)
    settings = make_settings(loaded, preset_steps(preset, steps), precision=precision)
    resources = choose_resources(device, batch)
    resources.check_precision(precision)
    figures = {"message_type": "bench", **measure(wanted, loaded, settings, resources)}
    if plot is not None:
        from exdiff_cli.bench.plot import draw_bench

        draw_bench(figures, plot)
    if as_json:
        print_json(figures)
    else:
        print_table(bench_table({name: value for name, value in figures.items() if name != "message_type"}))


def check_picture(path: Path | None) -> None:
    """:class:`UsageError` for a picture that could not be written, before anything is measured."""
    if path is None:
        return
    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"--plot {path}: give a name that ends in {' or '.join(PICTURES)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: no file can be written there; name one in a folder that exists")
