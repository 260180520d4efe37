"""Makes a listening test: draws and levels excerpts, hides what they are, and writes the page and its key."""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np

from exdiff_cli.audio.io import probe
from exdiff_cli.audio.recording import Samples
from exdiff_cli.errors import NoInputError, RecordingError, UsageError
from exdiff_cli.listening.excerpts import Excerpt, find_excerpts, read_excerpt
from exdiff_cli.listening.key import Key, KeyTrial, Kind, key_path, write_key
from exdiff_cli.listening.sources import ANCHOR, ORIGINAL, REFERENCE, Comparison, Source, find_sources
from exdiff_cli.listening.stimuli import ANCHOR_HZ, FORMAT, align, encode, low_pass, match_loudness
from exdiff_cli.publish import publish_text
from exdiff_cli.report.page import render

log = logging.getLogger(__name__)

TEMPLATES = {Kind.PREFERENCE: "abtest.html", Kind.MUSHRA: "mushra.html"}
LENGTHS_APART = 0.1
"""Seconds by which a clean reference may be longer or shorter than what it is compared with."""

_SAME = 1e-4  # of the energy: 40 dB below, nobody hears which is which


@dataclass(frozen=True)
class Trial:
    """The stimuli of one excerpt by system, ``(channels, frames)``, alike in length and loudness."""

    source: Source
    excerpt: Excerpt
    stimuli: dict[str, Samples]


@dataclass(frozen=True)
class ListeningTest:
    """A page and its key."""

    key: Key
    page: str

    @property
    def recordings(self) -> int:
        return len({trial.recording for trial in self.key.trials})


def make_test(
    comparison: Comparison, count: int, seconds: float, seed: int, made: Callable[[], object] = lambda: None
) -> ListeningTest:
    """Draw ``count`` trials, fewer where there is not more to hear; ``made`` is called after each.

    Equal arguments and files give equal pages. Raises :class:`NoInputError` where there is nothing to compare.
    """
    systems = _systems(comparison)
    sources = find_sources(comparison, count, seed)
    trials = []
    for trial in islice(_taking_turns(_trials(source, seconds, seed) for source in sources), count):
        trials.append(trial)
        made()
    if not trials:
        raise NoInputError(f"{comparison.output}: no excerpts to compare; those passed over are named above")
    # What is drawn must not follow from the seed alone: that is known to whoever reads the command.
    secret = Random(f"{seed}:{[trial.source.sha256 for trial in trials]}")
    secret.shuffle(trials)
    return _seal(Kind.MUSHRA if comparison.reference else Kind.PREFERENCE, systems, trials, seed, secret)


def _systems(comparison: Comparison) -> tuple[str, ...]:
    enhanced = tuple(comparison.enhanced)
    if comparison.reference is not None:
        return (REFERENCE, *enhanced, ORIGINAL, ANCHOR)
    if len(enhanced) > 2:
        raise UsageError("--against: a pair has two sides; give one folder, or --reference for more")
    return (*enhanced, ORIGINAL) if len(enhanced) == 1 else enhanced


def _taking_turns(queues: Iterable[Iterator[Trial]]) -> Iterator[Trial]:
    """One excerpt of every recording, then a second of each, and so on."""
    waiting = list(queues)
    while waiting:
        left = []
        for queue in waiting:
            trial = next(queue, None)
            if trial is not None:
                yield trial
                left.append(queue)
        waiting = left


def _trials(source: Source, seconds: float, seed: int) -> Iterator[Trial]:
    """All that can be heard of a recording; a line where that is nothing."""
    count = 0
    try:
        for version in source.versions.values():
            version.check()
        paths = [version.path for version in source.versions.values()]
        for excerpt in find_excerpts(paths, seconds, Random(f"{seed}:{source.sha256}")):
            stimuli = _stimuli(source, excerpt)
            if stimuli is not None:
                count += 1
                yield Trial(source, excerpt, stimuli)
    except RecordingError as error:
        log.warning("%s", error)
    else:
        if not count:
            log.warning("%s: passed over: nobody speaks in it, it is too short, or no version differs", source.name)


def _stimuli(source: Source, excerpt: Excerpt) -> dict[str, Samples] | None:
    """None where one is silent or, without a reference to tell them from, all sound alike."""
    read = {system: read_excerpt(version.path, excerpt) for system, version in source.versions.items()}
    if REFERENCE in read:
        _refuse_other_length(source)
        read[ANCHOR] = low_pass(read[REFERENCE], ANCHOR_HZ)
    matched = match_loudness(align(list(read.values())))
    if matched is None or (REFERENCE not in read and _is_same(*matched)):
        return None
    return dict(zip(read, matched, strict=True))


def _refuse_other_length(source: Source) -> None:
    clean, original = (probe(source.versions[system].path) for system in (REFERENCE, ORIGINAL))
    if abs(clean.seconds - original.seconds) > LENGTHS_APART:
        problem = f"lasts {clean.seconds:.2f} s, and what it is the reference of {original.seconds:.2f} s"
        raise RecordingError(clean.path, problem, "give it the same start and length")


def _is_same(first: Samples, second: Samples) -> bool:
    return float(np.square(first - second).sum()) < _SAME * float(np.square(first).sum())


def _seal(kind: Kind, systems: tuple[str, ...], trials: list[Trial], seed: int, secret: Random) -> ListeningTest:
    key_trials, shown = [], []
    for number, trial in enumerate(trials, 1):
        order = secret.sample(systems, len(systems))
        place = {"start_s": round(trial.excerpt.start, 3), "seconds": round(trial.excerpt.seconds, 3)}
        key_trials.append(KeyTrial(trial=str(number), recording=trial.source.name, order=tuple(order), **place))
        # The open reference is encoded apart from the hidden one, whose bytes would betray it.
        heard = [*order, REFERENCE] if kind is Kind.MUSHRA else order
        dither = np.random.default_rng(secret.getrandbits(64))
        shown.append({"trial": str(number), "clips": [_data_uri(trial.stimuli[system], dither) for system in heard]})
    identity = json.dumps([seed, systems, [trial.model_dump() for trial in key_trials]])
    test = hashlib.sha256(identity.encode()).hexdigest()[:16]
    key = Key(kind=kind, test=test, seed=seed, systems=systems, trials=tuple(key_trials))
    return ListeningTest(key, render(TEMPLATES[kind], test={"test": test, "kind": kind.value, "trials": shown}))


def _data_uri(stimulus: Samples, dither: np.random.Generator) -> str:
    return f"data:{FORMAT};base64,{b64encode(encode(stimulus, dither)).decode()}"


def refuse_to_overwrite(page: Path) -> None:
    """:class:`UsageError` for what is no page, and where a key would be lost by which answers are still scored."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {page}: a page is written; give it a name that ends in .html")
    for path in (page, key_path(page)):
        if path.exists():
            raise UsageError(f"{path}: exists, and answers may still come in; name another file with -o, or delete it")


def write_test(page: Path, test: ListeningTest) -> None:
    """Write the page and, first, its key. Raises RecordingError."""
    write_key(key_path(page), test.key)
    publish_text(page, test.page)
