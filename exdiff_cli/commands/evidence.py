"""`exdiff inspect` and `exdiff sign`: what a file says of itself, and what holds a folder to be as it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exdiff_cli.commands.options import JsonLinesOption, say
from exdiff_cli.commands.results import show_findings
from exdiff_cli.errors import ExitCode, UsageError
from exdiff_cli.stdout import print_json, print_text
from exdiff_cli.text import printable


def inspect(
    file: Annotated[Path, typer.Argument(help="An enhanced recording, in its folder or copied away from it.")],
    as_json: JsonLinesOption = False,
) -> None:
    """Say by what and of what original a file was made, and whether both are as recorded; code 4 if nothing tells."""
    from exdiff_cli.inspection import examine

    found = examine(file)
    if as_json:
        print_json(found.as_json())
    else:
        for line in found.lines():
            print_text(printable(line))
    raise typer.Exit(found.exit_code)


def sign(
    output: Annotated[Path | None, typer.Argument(help="An output folder of exdiff.", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option("--key", "--private-key", help="The private key, Ed25519 in PEM.")] = None,
    new_key: Annotated[
        Path | None, typer.Option(help="Make a key pair: the private one here, the public one as *.pub beside it.")
    ] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """Verify an output folder and sign what it holds; nothing is signed, and code 3, if it is not as it was made."""
    from exdiff_cli import signing

    if new_key is not None:
        if output is not None or key is not None:
            raise UsageError("sign --new-key: makes keys and signs nothing; sign in a call of its own")
        public = signing.new_key(new_key)
        say(f"exdiff: {new_key} signs, keep it secret; hand on {public}, which verifies")
        return
    if output is None or key is None:
        raise UsageError("sign: name an output folder and its --key, or make one with --new-key FILE")
    private = signing.load_private_key(key)
    _, count = show_findings(output, None, as_json, is_strict=True)
    signed = 0 if count else signing.sign(output, private)
    if as_json:
        print_json({"message_type": "summary", "signed": signed, "findings": count})
    else:
        print_text(f"{signed} results signed" + (f": {count} things are not as they were made" if count else ""))
    raise typer.Exit(ExitCode.SOME_FAILED if count else ExitCode.OK)
