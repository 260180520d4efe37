"""The key of a listening test: what lies behind A and B, kept in a file beside the page and never in it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from exdiff_cli.errors import DataError
from exdiff_cli.publish import publish_text, reason

SUFFIX = ".key.json"


class Kind(StrEnum):
    """How is asked: which of two is preferred, or how good each of several is (ITU-R BS.1534)."""

    PREFERENCE = "preference"
    MUSHRA = "mushra"


class Content(BaseModel):
    """What is read from a file; fields that a newer exdiff added are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


AnyContent = TypeVar("AnyContent", bound=Content)


class KeyTrial(Content):
    """One trial: where it was cut, and the systems in the order in which the page shows them."""

    trial: str
    recording: str
    start_s: float
    seconds: float
    order: tuple[str, ...]


class Key(Content):
    """All of a test; ``systems`` begin with that whose share is told."""

    message_type: Literal["listening_key"] = "listening_key"
    version: Literal[1] = 1
    kind: Kind
    test: str
    seed: int
    systems: tuple[str, ...]
    trials: tuple[KeyTrial, ...]


def key_path(page: Path) -> Path:
    """Where the key of a page lies: beside it, under its whole name."""
    return page.with_name(page.name + SUFFIX)


def write_key(path: Path, key: Key) -> None:
    """Raises RecordingError where it cannot be written."""
    publish_text(path, key.model_dump_json(indent=2) + "\n")


def read_key(path: Path) -> Key:
    """:class:`DataError` where it is none."""
    return read_content(path, Key, "the key of a listening test")


def read_content(path: Path, kind: type[AnyContent], what: str) -> AnyContent:
    """A file of JSON; :class:`DataError` in one line where it is not ``what`` it should be."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); check the path") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "content"
        raise DataError(f"{path}: is not {what} ({place}: {fault['msg']}); give another file") from error
