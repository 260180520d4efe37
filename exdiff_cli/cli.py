"""The command line: every command by its name, and what an error or an interrupt becomes."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from exdiff_cli import __version__, logs
from exdiff_cli.commands.abtest import abtest
from exdiff_cli.commands.bench import bench
from exdiff_cli.commands.config import config, configure
from exdiff_cli.commands.doctor import doctor
from exdiff_cli.commands.enhance import enhance
from exdiff_cli.commands.evaluate import evaluate
from exdiff_cli.commands.evidence import inspect, sign
from exdiff_cli.commands.figures import picture
from exdiff_cli.commands.models import adapt, bundle_command, models
from exdiff_cli.commands.options import LogFormatOption, QuietOption, VerboseOption
from exdiff_cli.commands.report import report
from exdiff_cli.commands.results import manifest, status, verify
from exdiff_cli.commands.retry import retry
from exdiff_cli.commands.train import train
from exdiff_cli.errors import ExdiffError, ExitCode, OutputClosedError
from exdiff_cli.stdout import write_what_can_be_written

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""What typer makes of KeyboardInterrupt: 128 + SIGINT."""

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
for command in (
    enhance,
    evaluate,
    adapt,
    status,
    report,
    abtest,
    verify,
    inspect,
    sign,
    retry,
    models,
    doctor,
    picture,
    bench,
):
    app.command()(command)
app.command("bundle")(bundle_command)
app.add_typer(train, name="train")
app.add_typer(manifest, name="manifest")
configure(app)
app.add_typer(config, name="config")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"exdiff {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = 0,
    log_format: LogFormatOption = None,
) -> None:
    """Clean archives of call-centre and factory recordings; originals are never touched."""


def main() -> None:
    """Run a command; an expected error is one line on stderr and its exit code."""
    logs.set_up(logs.asked_format(sys.argv))
    write_what_can_be_written()
    try:
        # Alone, typer draws a box around what it cannot parse.
        sys.exit(app(standalone_mode=not logs.is_json()))
    except OutputClosedError as error:
        sys.exit(error.exit_code)
    except ExdiffError as error:
        log.error("exdiff: %s", error)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            log.warning("exdiff: stopped; the same command goes on where it was")
        raise
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own, whose type is not public
            log.error("exdiff: %s", error.format_message())
            sys.exit(ExitCode.USAGE)
        log.error(
            "exdiff: internal error: %s: %s; please report it",
            type(error).__name__,
            error,
            exc_info=logs.is_debugging(),
        )
        sys.exit(ExitCode.INTERNAL)
