"""`exdiff status`, `exdiff verify` and `exdiff manifest export`: what an output folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from exdiff_cli.commands.options import JsonLinesOption
from exdiff_cli.errors import ExitCode, RecordingError, UsageError
from exdiff_cli.logs import no_bar
from exdiff_cli.stdout import print_json, print_lines, print_table, print_text
from exdiff_cli.text import printable

if TYPE_CHECKING:  # an extra, which only signatures need
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

OutputArgument = Annotated[Path, typer.Argument(help="An output folder of exdiff.")]

manifest = typer.Typer(no_args_is_help=True, help="What is known of every recording.")


def status(output: OutputArgument, as_json: JsonLinesOption = False) -> None:
    """Say how far the recordings of an output folder have come, also while a run is at it."""
    from exdiff_cli.status import read_status, status_table

    found = read_status(output)
    if as_json:
        print_json(found.as_json())
    else:
        print_table(status_table(found))


def verify(
    output: OutputArgument,
    public_key: Annotated[
        Path | None, typer.Option(help="Check also that all is as it was signed, by the key that this belongs to.")
    ] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Hash every result and report anew and name those that are not as they were made; ends with code 3 if so."""
    from exdiff_cli.signing import load_public_key

    key = load_public_key(public_key) if public_key is not None else None
    total, count = show_findings(output, key, as_json)
    if as_json:
        print_json({"message_type": "summary", "checked": total, "findings": count})
    else:
        remedy = "; delete them and run again to make them anew" if count and key is None else ""
        print_text(f"{total} results checked, {count} not as they were {'signed' if key else 'made'}{remedy}")
    raise typer.Exit(ExitCode.SOME_FAILED if count else ExitCode.OK)


def show_findings(
    output: Path, key: Ed25519PublicKey | None, as_json: bool, is_strict: bool = False
) -> tuple[int, int]:
    """Verify an output folder and print what is found; how many results there are, and how many findings."""
    from exdiff_cli.status import read_status
    from exdiff_cli.verify import verify as check

    total, count = read_status(output).counts["done"], 0
    with tqdm(total=total, desc="verifying", unit="file", disable=no_bar(), leave=False) as bar:
        for finding in check(output, bar.update, key, is_strict):
            count += 1
            if as_json:
                print_json(finding.as_json())
            else:
                print_text(printable(str(finding)))
    return total, count


@manifest.command("export")
def export(
    output: OutputArgument,
    file: Annotated[str, typer.Argument(help="Where to write, - for stdout.")] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines, the only form there is.")] = True,
) -> None:
    """Write a JSON object a line for every recording: its original, result, hashes, state, error, and times."""
    from exdiff_cli.publish import publish_text
    from exdiff_cli.status import export_lines

    if file == "-":
        print_lines(export_lines(output))
        return
    try:
        publish_text(Path(file), export_lines(output))
    except RecordingError as error:
        raise UsageError(str(error)) from error
