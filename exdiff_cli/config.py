"""`exdiff.toml` and `EXDIFF_*`: where a call's configuration lies, and which names may stand in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from exdiff_cli.errors import UsageError

FILE_NAME = "exdiff.toml"
PREFIX = "EXDIFF"
FILE_VARIABLE = f"{PREFIX}_CONFIG"
GRAPHS_VARIABLE = f"{PREFIX}_CUDA_GRAPHS"
"""No option: it is for whoever measures what they are worth."""

Command = tuple[str, ...]
"""A command by its words: ``("train", "extract")``."""

MAIN: Command = ("enhance",)
"""The command whose options may stand above all tables, and whose variables need no name of a command."""

Options = Mapping[Command, Collection[str]]
"""The options of every command, spelt as on the command line: ``max-duration``."""


def find_config(inputs: Sequence[Path]) -> Path | None:
    """The configuration file for these inputs, or None.

    For a folder it is looked for in it, then beside it; for a file beside it; without any input in the working
    directory. Raises :class:`UsageError` where inputs would have different ones, as a run has but one.
    """
    if not inputs:
        return _first_file([Path(os.path.abspath(FILE_NAME))])
    first, *others = {_places(path): path for path in inputs}.items()
    found = _first_file(first[0])
    for places, path in others:
        other = _first_file(places)
        if other != found:
            raise UsageError(f"{first[1]} has {found or 'no settings'}, {path} {other or 'none'}; name one by --config")
    return found


def _places(path: Path) -> tuple[Path, ...]:
    absolute = Path(os.path.abspath(path))
    beside = absolute.parent / FILE_NAME
    return (absolute / FILE_NAME, beside) if os.path.isdir(absolute) else (beside,)


def _first_file(places: Iterable[Path]) -> Path | None:
    return next((place for place in places if os.path.isfile(place)), None)


def read_config(path: Path, known: Options) -> dict[Command, dict[str, object]]:
    """What a file says for each command. :class:`UsageError` for a broken file and for names that are not known."""
    found: dict[Command, dict[str, object]] = {}
    for command, name, value in _entries(_parse(path), (), known, path):
        values = found.setdefault(command, {})
        if name in values:
            raise UsageError(f"{path}: {name} stands twice for {' '.join(command)}; keep one")
        values[name] = value
    return found


def _parse(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a TOML file by --config") from error
    except ValueError as error:  # broken TOML, with its line, or no UTF-8
        raise UsageError(f"{path}: is no valid TOML: {error}") from error


def _entries(
    table: Mapping[str, object], place: Command, known: Options, path: Path
) -> Iterator[tuple[Command, str, object]]:
    """Command, option and value for all that stands in a table and those below it."""
    command = place or MAIN
    options = known.get(command, ())
    tables = {other[len(place)] for other in known if other[: len(place)] == place and len(other) > len(place)}
    for key, value in table.items():
        name = key.replace("_", "-")
        if isinstance(value, dict) and name in tables:
            yield from _entries(value, (*place, name), known, path)
        elif isinstance(value, dict) or name not in options:
            where = f" in [{'.'.join(place)}]" if place else ""
            what = f"table [{'.'.join((*place, key))}]" if isinstance(value, dict) else f"key {key!r}{where}"
            hint = suggestion(name, tables if isinstance(value, dict) else options)
            raise UsageError(f"{path}: unknown {what}; {hint or 'exdiff config show lists all that there are'}")
        else:
            yield command, name, value


def variable(command: Command, option: str) -> str:
    """The environment variable of an option: ``EXDIFF_STEPS`` of `enhance`, ``EXDIFF_EVALUATE_STEPS`` of others."""
    words = (PREFIX, *(() if command == MAIN else command), option)
    return "_".join(words).replace("-", "_").upper()


def unknown_variables(environment: Iterable[str], known: Options) -> list[str]:
    """A line for each variable that looks like ours and is not: it may be another tool's, or a slip."""
    ours = {variable(command, option) for command, options in known.items() for option in options}
    ours |= {FILE_VARIABLE, GRAPHS_VARIABLE}
    strange = sorted(name for name in environment if name.startswith(f"{PREFIX}_") and name not in ours)
    return [f"{name} is not used: no such setting; {suggestion(name, ours)}".rstrip("; ") for name in strange]


def suggestion(name: str, known: Collection[str]) -> str:
    """Which known name may have been meant, or nothing."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else ""
