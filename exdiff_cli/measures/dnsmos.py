"""DNSMOS P.835: opinion scores that a network predicts, and the windows that a long recording is scored in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from exdiff_cli.measures import SAMPLE_RATE, Floats
from exdiff_cli.measures.packaged import onnx_session

WINDOW_SAMPLES = 144_160
"""Length of a DNSMOS window: 9.01 s."""

MOST_WINDOWS = 12
"""Of a recording are looked at; of an hour of talk they tell as much as all of it."""

_WINDOW_SECONDS = WINDOW_SAMPLES // SAMPLE_RATE


@dataclass(frozen=True)
class DnsmosScore:
    """Predicted mean opinion scores, 1 to 5: of the speech signal, of the background, and overall."""

    sig: float
    bak: float
    ovrl: float


_FIT = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}


@cache
def _session(threads: int) -> Any:
    install = "pip install --no-deps speechmos"
    return onnx_session("DNSMOS", "speechmos", "dnsmos_models/sig_bak_ovr.onnx", install, threads)


@dataclass(frozen=True)
class Dnsmos:
    """DNSMOS P.835 (Reddy et al. 2022) with its published polynomial fit; the model loads at the first score.

    Digital silence gets figures too, about 1.8 overall; they mean nothing.
    """

    threads: int = 1

    def score(self, windows: Iterable[Floats]) -> list[DnsmosScore]:
        """Score windows of ``(WINDOW_SAMPLES,)`` at 16 kHz, each independently of the others.

        Raises :class:`UsageError` where the model is not installed.
        """
        session = _session(self.threads)
        # One at a time: a batch of 12 gives the same numbers, but slower and in seven times the memory.
        raw = [session.run(None, {"input_1": window[None].astype(np.float32)})[0][0] for window in windows]
        return [_fitted(scores) for scores in raw]


def _fitted(raw: Floats) -> DnsmosScore:
    sig, bak, ovrl = (float(np.polyval(fit, value)) for fit, value in zip(_FIT.values(), raw, strict=True))
    return DnsmosScore(sig, bak, ovrl)


def fill_window(audio: Floats) -> Floats:
    """Cut ``(samples,)`` to one DNSMOS window, or repeat it to fill one, as the published code does."""
    return np.resize(audio, WINDOW_SAMPLES)


def mean_score(scores: Sequence[DnsmosScore]) -> DnsmosScore | None:
    """Average over windows; None without any."""
    if not scores:
        return None
    sig, bak, ovrl = np.mean([(score.sig, score.bak, score.ovrl) for score in scores], axis=0).tolist()
    return DnsmosScore(sig, bak, ovrl)


def choose_windows(energy: Floats, samples: int, limit: int = MOST_WINDOWS) -> list[int]:
    """Choose which windows of a recording to look at: at most ``limit``, where most of the energy is.

    ``energy`` is ``(seconds,)``, as in :attr:`Profile.energy`; ``samples`` the recording's length at 16 kHz.
    Returns the starts in whole seconds, ascending; ``[0]`` for less than a window, see :func:`fill_window`.

    The recording is tiled by windows that hardly overlap, and those are taken where the running energy passes
    ``limit`` equal shares: an hour of talk is sampled evenly, a minute in an hour of silence is all taken.
    """
    last = (samples - WINDOW_SAMPLES) // SAMPLE_RATE
    if last <= 0:
        return [0]
    starts = np.linspace(0, last, 1 + last // _WINDOW_SECONDS).astype(int)
    running = np.cumsum(_window_energy(energy)[starts])
    if running[-1] <= 0:
        running = np.arange(1.0, len(starts) + 1)
    shares = (np.arange(limit) + 0.5) / limit * running[-1]
    return [int(start) for start in starts[np.unique(np.searchsorted(running, shares))]]


def _window_energy(energy: Floats) -> Floats:
    """Energy of the window that starts at each second, single bangs capped to the loud seconds."""
    loud = np.partition(energy, -_WINDOW_SECONDS)[-_WINDOW_SECONDS]
    return np.convolve(np.minimum(energy, loud), np.ones(_WINDOW_SECONDS), mode="valid")


def dnsmos_reference(audio: Floats, model: Dnsmos | None = None) -> DnsmosScore | None:
    """Score ``(samples,)`` at 16 kHz by the published procedure: a window every second, for short clips.

    Follows ``dnsmos_local.py`` of the DNS Challenge: a clip shorter than a window is doubled until it fills
    one, and the windows then hop over the doubled clip. None for an empty clip.
    """
    if audio.size == 0:
        return None
    period = audio.size
    while audio.size < WINDOW_SAMPLES:
        audio = np.concatenate([audio, audio])
    seconds = WINDOW_SAMPLES / SAMPLE_RATE
    hops = range(int(audio.size // SAMPLE_RATE - seconds) + 1)
    # Rounding leaves some windows a sample short; the original passes over those, and so must its equal.
    whole = [hop for hop in hops if int((hop + seconds) * SAMPLE_RATE) - hop * SAMPLE_RATE == WINDOW_SAMPLES]
    # In a clip of whole seconds windows repeat with it.
    starts = [hop * SAMPLE_RATE % period for hop in whole]
    windows = {start: audio[start : start + WINDOW_SAMPLES] for start in starts}
    scores = dict(zip(windows, (model or Dnsmos()).score(windows.values()), strict=True))
    return mean_score([scores[start] for start in starts])
