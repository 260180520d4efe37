"""Whether the same sounds of speech are heard: phoneme error rate against what is recognised in the clean reference.

The recogniser is PocketSphinx with its free phoneme loop, whose English model its package carries. On other
languages it hears English sounds, in the reference as in the estimate, so that the rate still tells what was lost or
invented, only less finely.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from exdiff_cli.measures import Floats

_lock = threading.Lock()
_PEAK = 0.5


@cache
def _recogniser() -> Any:
    if importlib.util.find_spec("pocketsphinx") is None:
        return None
    import pocketsphinx

    return pocketsphinx.Decoder(
        hmm=pocketsphinx.get_model_path("en-us/en-us"),
        allphone=pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"),
        lm=None,
        dict=None,
        lw=2.0,
        beam=1e-20,
        pbeam=1e-20,
        loglevel="FATAL",
    )


def phonemes(audio: Floats) -> list[str] | None:
    """Phonemes heard in ``(samples,)`` at 16 kHz, without pauses and noises; None without the package."""
    recogniser = _recogniser()
    if recogniser is None:
        return None
    if not audio.any():  # It would hear sounds in digital silence.
        return []
    # To one level, as the recogniser works on 16-bit integers.
    scaled = audio * (_PEAK * 32767 / max(float(np.abs(audio).max(initial=0.0)), 1e-9))
    with _lock:
        recogniser.start_utt()
        recogniser.process_raw(scaled.astype(np.int16).tobytes(), no_search=False, full_utt=True)
        recogniser.end_utt()
        heard = [segment.word for segment in recogniser.seg() or ()]
    return [phoneme for phoneme in heard if phoneme.isalpha() and phoneme != "SIL"]


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Fewest insertions, deletions and replacements that turn one into the other."""
    row = list(range(len(second) + 1))
    for count, item in enumerate(first, start=1):
        previous, row = row, [count]
        for column, other in enumerate(second):
            row.append(min(row[-1] + 1, previous[column + 1] + 1, previous[column] + (item != other)))
    return row[-1]


def phoneme_error_rate(estimate: Floats, clean: Floats) -> float | None:
    """Edits a phoneme of the reference, 0 for none; None where nothing is heard in it or without the package."""
    reference, heard = phonemes(clean), phonemes(estimate)
    if not reference or heard is None:
        return None
    return edit_distance(reference, heard) / len(reference)
