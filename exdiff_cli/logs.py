"""What goes to stderr: a line an event, as text or as a JSON object, beside any progress bar."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tqdm import tqdm

from exdiff_cli.text import printable

NOTICE = 25
"""Between INFO, which is told with ``-v``, and WARNING, which is told even with ``-q``."""

OPTION, VARIABLE = "--log-format", "EXDIFF_LOG_FORMAT"

PLAIN_TERMINALS = ("dumb", "unknown")
"""Values of TERM for what cannot go back in a line."""


class LogFormat(StrEnum):
    """How a line on stderr is written."""

    TEXT = "text"
    JSON = "json"


class _TextFormatter(logging.Formatter):
    """The message alone; with ``-v`` its time before it."""

    def format(self, record: logging.LogRecord) -> str:
        line = printable(record.getMessage())
        if _ours.level < NOTICE:
            line = f"{datetime.fromtimestamp(record.created).astimezone().isoformat(timespec='seconds')} {line}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """An object a line: ``time`` in UTC, ``level``, ``message``, and the fields that were given by :func:`fields`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "message": printable(record.getMessage())}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _BesideBars(logging.Handler):
    """Writes to what is stderr then; a progress bar makes room."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # closed by the caller; tqdm would write to stdout instead
            return
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


_ours = logging.getLogger("exdiff_cli")
_handler = _BesideBars()
_FORMATTERS = {LogFormat.TEXT: _TextFormatter(), LogFormat.JSON: _JsonFormatter()}


def set_up(log_format: LogFormat = LogFormat.TEXT) -> None:
    """Begin as a call without options does: failures and notices, as text."""
    logging.addLevelName(NOTICE, "NOTICE")
    # On the root, so that what a library logs has the same form; of those, warnings only.
    logging.getLogger().addHandler(_handler)
    _ours.setLevel(NOTICE)
    _use(log_format)


def adjust(quiet: bool = False, verbose: int = 0, log_format: LogFormat | None = None) -> None:
    """Follow the options ``-q``, ``-v`` and ``--log-format``; what was not given stays as it is."""
    if verbose:
        _ours.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    if quiet:
        _ours.setLevel(logging.WARNING)
    if log_format is not None:
        _use(log_format)


def _use(log_format: LogFormat) -> None:
    _handler.setFormatter(_FORMATTERS[log_format])
    logging.captureWarnings(log_format is LogFormat.JSON)


def is_quiet() -> bool:
    """Whether only failures are wanted."""
    return _ours.level > NOTICE


def is_debugging() -> bool:
    """Whether all there is to tell is wanted."""
    return _ours.level == logging.DEBUG


def is_json() -> bool:
    """Whether every line on stderr is to be a JSON object."""
    return _handler.formatter is _FORMATTERS[LogFormat.JSON]


def no_bar() -> bool:
    """Whether stderr is no place for a bar: no terminal or a plain one, only failures are wanted, or JSON is."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return not is_terminal or os.environ.get("TERM") in PLAIN_TERMINALS or is_quiet() or is_json()


def asked_format(arguments: Sequence[str]) -> LogFormat:
    """The format that a command line or the environment asks for, also where the rest of it cannot be parsed."""
    asked = f"{OPTION} json" in " ".join(arguments).replace("=", " ") or os.environ.get(VARIABLE) == "json"
    return LogFormat.JSON if asked else LogFormat.TEXT


def fields(**values: Any) -> dict[str, Any]:
    """``extra`` of a log call: what the JSON line tells beside its message."""
    return {"fields": {name: printable(value) if isinstance(value, str) else value for name, value in values.items()}}
