"""What listeners answered: result files, and the key that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from exdiff_cli.errors import DataError
from exdiff_cli.listening.key import SUFFIX, Content, Key, KeyTrial, Kind, read_content, read_key

Rating = Annotated[int, Field(ge=0, le=100)]

NOTE = (
    "Answers of one listener are not independent of each other: with few listeners, intervals and p say how sure "
    "these listeners are, not what others would answer."
)


class Answer(Content):
    """What was answered in one trial; ``ratings`` are in the order of the page."""

    trial: str
    answer: Literal["a", "b", "none"] | None = None
    ratings: tuple[Rating | None, ...] | None = None
    comment: str = ""

    def is_whole(self, kind: Kind, stimuli: int) -> bool:
        """Whether nothing is left open."""
        if kind is Kind.PREFERENCE:
            return self.answer is not None
        return self.ratings is not None and len(self.ratings) == stimuli and None not in self.ratings


class Result(Content):
    """The answers of one listener."""

    message_type: Literal["listening_result"]
    version: Literal[1]
    kind: Kind
    test: str
    listener: str
    answers: tuple[Answer, ...]


def read_results(paths: Sequence[Path], key_file: Path | None) -> tuple[Key, list[Result]]:
    """All results and their key, found beside the first of them unless it is named.

    Raises :class:`DataError` where a file is no result, of another test, not whole, or of a listener heard before.
    """
    results = [read_content(path, Result, "the result of a listening test") for path in paths]
    key = read_key(key_file) if key_file is not None else _find_key(paths[0], results[0].test)
    listeners: dict[str, Path] = {}
    for path, result in zip(paths, results, strict=True):
        _check(path, result, key)
        earlier = listeners.setdefault(result.listener, path)
        if earlier is not path:
            raise DataError(f"{path}: is of the same listener as {earlier}; give each listener once")
    return key, results


def _find_key(path: Path, test: str) -> Key:
    for candidate in sorted(path.absolute().parent.glob(f"*{SUFFIX}")):
        with suppress(DataError):
            key = read_key(candidate)
            if key.test == test:
                return key
    raise DataError(f"{path}: its key is not beside it; name the page's {SUFFIX} file with --key")


def _check(path: Path, result: Result, key: Key) -> None:
    if (result.test, result.kind) != (key.test, key.kind):
        raise DataError(
            f"{path}: answers another test ({result.test}) than the key is of ({key.test}); give its own key"
        )
    stimuli = {trial.trial: len(trial.order) for trial in key.trials}
    answered = [answer.trial for answer in result.answers]
    if len(set(answered)) < len(answered) or not set(answered) <= stimuli.keys():
        raise DataError(f"{path}: holds answers that the test does not ask for; was it changed?")
    whole = sum(answer.is_whole(key.kind, stimuli[answer.trial]) for answer in result.answers)
    if whole < len(stimuli):
        raise DataError(f"{path}: answers {whole} of {len(stimuli)}; let the listener finish on the page")


def answered(key: Key, results: Sequence[Result]) -> Iterator[tuple[Result, KeyTrial, Answer]]:
    """Every answer with the trial that it is of."""
    trials = {trial.trial: trial for trial in key.trials}
    for result in results:
        for answer in result.answers:
            yield result, trials[answer.trial], answer


def comments(key: Key, results: Sequence[Result]) -> list[dict[str, str]]:
    """What was said beside the answers, and what A, B and so on were."""
    return [
        {
            "listener": result.listener,
            "recording": trial.recording,
            "order": ", ".join(f"{chr(65 + place)} {system}" for place, system in enumerate(trial.order)),
            "comment": answer.comment,
        }
        for result, trial, answer in answered(key, results)
        if answer.comment
    ]
