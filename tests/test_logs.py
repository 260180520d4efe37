"""Lines on stderr: which are told, and that each is one line, or one JSON object, whatever it quotes."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime

import pytest

from exdiff_cli.logs import NOTICE, LogFormat, adjust, asked_format, fields, set_up

log = logging.getLogger("exdiff_cli.test")
LEVELS = (logging.DEBUG, logging.INFO, NOTICE, logging.WARNING, logging.ERROR)


@pytest.fixture(autouse=True)
def as_without_options() -> Iterator[None]:
    set_up()
    yield
    set_up()


@pytest.mark.parametrize(("quiet", "verbose", "told"), [(True, 0, 2), (False, 0, 3), (False, 1, 4), (False, 3, 5)])
def test_what_is_told(quiet: bool, verbose: int, told: int, capsys: pytest.CaptureFixture[str]) -> None:
    adjust(quiet, verbose)
    for level in LEVELS:
        log.log(level, "level %d", level)
    lines = capsys.readouterr().err.splitlines()
    assert [int(line.split()[-1]) for line in lines] == list(LEVELS[-told:])
    assert all(line.startswith("level") for line in lines) == (not verbose)


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    adjust(log_format=LogFormat.JSON)
    log.error("two\nlines \x1b[31m \udce4", extra=fields(recording="a\n\udce4.wav", hours=1.5))
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert datetime.fromisoformat(told.pop("time")).utcoffset() is not None
    assert told == {
        "level": "error",
        "message": r"two\nlines \x1b[31m \xe4",
        "recording": r"a\n\xe4.wav",
        "hours": 1.5,
    }


def test_warnings_of_libraries_have_the_form_too(capsys: pytest.CaptureFixture[str]) -> None:
    adjust(log_format=LogFormat.JSON)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # pytest has put its own in place meanwhile
        logging.captureWarnings(True)
        warnings.warn("old\nuse", DeprecationWarning, stacklevel=1)
    logging.getLogger("some.library").warning("hm")
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in told] == ["warning", "warning"]
    assert "old" in told[0]["message"]


def test_a_closed_stderr_does_not_lead_to_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    log.error("nobody hears")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("enhance", "--log-format", "json", "--nope"), LogFormat.JSON),
        (("--log-format=json", "enhance"), LogFormat.JSON),
        (("enhance", "--log-format", "text"), LogFormat.TEXT),
        (("enhance", "json"), LogFormat.TEXT),
        ((), LogFormat.TEXT),
    ],
)
def test_the_format_is_known_before_the_call_is_parsed(arguments: tuple[str, ...], expected: LogFormat) -> None:
    assert asked_format(arguments) is expected


def test_the_environment_may_ask_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXDIFF_LOG_FORMAT", "json")
    assert asked_format(("enhance", "--nope")) is LogFormat.JSON
