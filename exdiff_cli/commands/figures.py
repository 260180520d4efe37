"""`exdiff picture` and `exdiff bench`: what a recording and a machine look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exdiff_cli.commands.options import (
    BundleOption,
    DeviceOption,
    PresetOption,
    SegmentsOption,
    StepsOption,
    ThreadsOption,
    choose_device,
    make_settings,
    preset_steps,
)
from exdiff_cli.settings import DEFAULT_BUNDLE, Resources
from exdiff_cli.stdout import print_json, print_table, print_text


def picture(
    before: Annotated[Path, typer.Argument(help="The original.")],
    after: Annotated[Path, typer.Argument(help="The enhanced recording.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="PNG or SVG file.")] = Path("before-after.png"),
) -> None:
    """Draw both spectrograms, one above the other."""
    from exdiff_cli.report.picture import draw_before_after

    draw_before_after(before, after, out)
    print_text(str(out))


def bench(
    bundle: BundleOption = DEFAULT_BUNDLE,
    preset: PresetOption = None,
    steps: StepsOption = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the recording that is made for it.")] = 60,
    batch: SegmentsOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure real-time factor by stage and peak memory of a whole run on a generated recording."""
    from exdiff_cli.bench import bench_table, run_bench
    from exdiff_cli.bundle import load_bundle

    loaded = load_bundle(bundle)
    settings = make_settings(loaded, preset_steps(preset, steps))
    figures = run_bench(loaded, settings, Resources.on(choose_device(device), batch), seconds)
    if as_json:
        print_json({"message_type": "bench", **figures})
    else:
        print_table(bench_table(figures))
