"""`exdiff picture`: what a recording looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exdiff_cli.stdout import print_text


def picture(
    before: Annotated[Path, typer.Argument(help="The original.")],
    after: Annotated[Path, typer.Argument(help="The enhanced recording.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="PNG or SVG file.")] = Path("before-after.png"),
) -> None:
    """Draw both spectrograms, one above the other."""
    from exdiff_cli.report.picture import draw_before_after

    draw_before_after(before, after, out)
    print_text(str(out))
