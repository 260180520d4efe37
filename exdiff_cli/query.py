"""What Extract is to take out: a source that it knows by name, or whatever sounds like a folder of examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exdiff_cli.audio.io import AUDIO_SUFFIXES, file_sha256
from exdiff_cli.audio.mono import MONO_RATE, mono_windows
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.spectral import LEVEL_RMS, SpectralConfig, analyse
from exdiff_cli.bundle import Bundle, load_example_separator
from exdiff_cli.errors import NoInputError, RecordingError, UsageError
from exdiff_cli.extract.by_example import ExampleSeparator

STRETCH = 2 * MONO_RATE
"""Samples that are embedded at a time, as in training."""

STRETCHES_A_FILE = 60
SILENCE_RMS = 10 ** (-70 / 20)


def ask(bundle: Bundle, query: str) -> tuple[Bundle, str]:
    """A bundle whose separator answers ``query``, and the query's name there.

    A name is taken as it is; a folder's examples get a name that changes when they do. Raises :class:`UsageError`
    where the query is neither, or cannot be answered, and :class:`NoInputError` where the folder holds no sound.
    """
    names = bundle.separator.queries.names
    if query in names:
        return bundle, query
    folder = Path(query)
    if not folder.is_dir():
        raise UsageError(f"--query {query}: {bundle.name} knows {' and '.join(names)}, or give a folder of examples")
    separator, weights = load_example_separator(bundle)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    wanted = _average(separator, [stretch for path in paths for stretch in _stretches(path)], bundle.spectral)
    if wanted is None:
        raise NoInputError(f"--query {folder}: holds no sound; put recordings of what to take out there")
    content = hashlib.sha256("".join(file_sha256(path) for path in paths).encode()).hexdigest()
    name = f"{folder.resolve().name}@{content[:12]}"
    combined = hashlib.sha256((bundle.weights_sha256 + weights).encode()).hexdigest()
    asked = separator.asking_for(wanted, name)
    return replace(bundle, separator=asked, weights_sha256=combined, examples=folder.resolve()), name


def _stretches(path: Path) -> list[Samples]:
    """The audible stretches of a recording from its beginning on, each at the models' level."""
    try:
        return list(islice(_levelled(path), STRETCHES_A_FILE))
    except RecordingError as error:
        raise UsageError(f"--query: {error}") from error


def _levelled(path: Path) -> Iterator[Samples]:
    rest = np.zeros(0, np.float32)
    for window in mono_windows(path):
        rest = np.concatenate([rest, window])
        while len(rest) >= STRETCH:
            yield from _at_level(rest[:STRETCH])
            rest = rest[STRETCH:]
    if len(rest):
        yield from _at_level(np.resize(rest, STRETCH))


def _at_level(stretch: Samples) -> Iterator[Samples]:
    rms = float(np.sqrt(np.mean(np.square(stretch, dtype=np.float64))))
    if rms > SILENCE_RMS:
        yield stretch * np.float32(LEVEL_RMS / rms)


@torch.no_grad()
def _average(separator: ExampleSeparator, stretches: list[Samples], spectral: SpectralConfig) -> Tensor | None:
    """The mean embedding of stretches, ``(query_size,)``; None without any."""
    if not stretches:
        return None
    # One at a time, so that an embedding does not depend on how many there are.
    embedded = [separator.encoder(analyse(torch.from_numpy(each)[None], spectral)) for each in stretches]
    return torch.cat(embedded).mean(dim=0)
