"""The figures of a benchmark for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table
from rich.text import Text

from exdiff_cli.text import printable

NOTE = "note"


def bench_table(figures: Mapping[str, object]) -> Table:
    """The figures, one a row; what is to be known of them stands below."""
    rows = list(_rows(figures))
    notes = [f"{name}: {value}" for name, value in rows if name.endswith(f" {NOTE}")]
    table = Table("figure", "value", title="exdiff bench", caption=Text("\n".join(notes)), caption_justify="left")
    for name, value in rows:
        if not name.endswith(f" {NOTE}"):
            table.add_row(Text(name), Text(value))
    return table


def _rows(figures: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        title = printable(f"{above} {name}".strip().replace("_", " "))
        if isinstance(value, Mapping):
            yield from _rows(value, title)
        elif isinstance(value, list):
            yield title, printable("; ".join(map(str, value))) or "nothing"
        else:
            yield title, f"{value:,}" if isinstance(value, int) and abs(value) >= 1e6 else printable(str(value))
