"""`exdiff doctor`: whether exdiff works on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exdiff_cli.commands.options import BundleOption, DevicesOption, JsonLinesOption, ThreadsOption, choose_devices
from exdiff_cli.errors import ExitCode
from exdiff_cli.settings import DEFAULT_BUNDLE
from exdiff_cli.stdout import print_json, print_table


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where results are to go.")] = Path("."),
    bundle: BundleOption = DEFAULT_BUNDLE,
    device: DevicesOption = "auto",
    threads: ThreadsOption = 0,
    as_json: JsonLinesOption = False,
) -> None:
    """Check device, libraries, codecs, disk and bundles, and enhance a tone without a network; code 2 if one fails."""
    from exdiff_cli.doctor import Verdict, doctor_table, examine

    checks = []
    for check in examine(folder, bundle, choose_devices(device)):
        checks.append(check)
        if as_json:
            print_json(check.as_json())
    if not as_json:
        print_table(doctor_table(checks))
    broken = any(check.verdict is Verdict.PROBLEM for check in checks)
    raise typer.Exit(ExitCode.USAGE if broken else ExitCode.OK)
