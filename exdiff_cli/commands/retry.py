"""`exdiff retry`: once more what failed, without repeating any option."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from tqdm import tqdm

from exdiff_cli.commands.options import DeviceOption, ThreadsOption, choose_device, say
from exdiff_cli.commands.results import OutputArgument
from exdiff_cli.engine import Listener, Outcome, RunOptions
from exdiff_cli.retry import find_failed, retry_failed, together
from exdiff_cli.settings import Resources
from exdiff_cli.stopping import Stop, on_signals, parse_duration
from exdiff_cli.summary import run_json, run_table


def retry(
    output: OutputArgument,
    batch: Annotated[int, typer.Option(min=1, help="Segments a batch; changes memory, never a result.")] = 4,
    grace: Annotated[str, typer.Option(help="Time for what is in hand after SIGINT or SIGTERM.")] = "30s",
    lock_wait: Annotated[
        str | None, typer.Option(help="Wait so long, 10m, while another run holds the output folder.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print failures only.")] = False,
) -> None:
    """Try again what failed in an output folder, from the same originals with the same settings and models."""
    stop = Stop(grace=parse_duration(grace, "--grace"))
    options = RunOptions(stop=stop, lock_wait=parse_duration(lock_wait, "--lock-wait") if lock_wait else 0.0)
    resources = Resources(choose_device(device), batch)
    with tqdm(unit="s", unit_scale=True, desc="enhancing", disable=True if quiet else None, leave=False) as bar:

        def ended(outcome: Outcome) -> None:
            if outcome.error:
                say(f"failed: {outcome.error}")

        def advanced(seconds: float) -> None:
            bar.update(seconds)

        with on_signals(stop, say):
            listener = Listener(advanced=advanced, ended=ended)
            result = together(output, retry_failed(output, find_failed(output), resources, listener, options))
    if as_json:
        typer.echo(run_json(result))
    elif not quiet:
        Console().print(run_table(result))
    raise typer.Exit(result.exit_code)
