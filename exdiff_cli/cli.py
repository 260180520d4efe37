"""The command line: every command by its name, and what an error or an interrupt becomes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from exdiff_cli import __version__
from exdiff_cli.commands.doctor import doctor
from exdiff_cli.commands.enhance import enhance
from exdiff_cli.commands.evaluate import evaluate
from exdiff_cli.commands.figures import bench, picture
from exdiff_cli.commands.models import adapt, bundle_command, models
from exdiff_cli.commands.options import say
from exdiff_cli.commands.results import manifest, status, verify
from exdiff_cli.commands.retry import retry
from exdiff_cli.commands.train import train
from exdiff_cli.errors import ExdiffError, ExitCode

INTERRUPTED = 130
"""What typer makes of KeyboardInterrupt: 128 + SIGINT."""

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
for command in (enhance, evaluate, adapt, status, verify, retry, models, doctor, picture, bench):
    app.command()(command)
app.command("bundle")(bundle_command)
app.add_typer(train, name="train")
app.add_typer(manifest, name="manifest")


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
