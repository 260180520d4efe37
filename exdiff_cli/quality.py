"""Measures of recordings: DNSMOS, loudness and levels without a reference; PESQ, ESTOI and SI-SDR with one.

DNSMOS, PESQ and ESTOI take mono float audio at 16 kHz. The meters stream: they are fed chunks of any length
at any sample rate, keep no audio beyond a second, and their results do not depend on where it was cut.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

from exdiff_cli.errors import DataError, UsageError

SAMPLE_RATE = 16_000
"""The rate, in Hertz, of everything that DNSMOS, PESQ and ESTOI are given."""

FLOOR_DBFS = -120.0
"""Levels at or below this, digital silence with them, are reported as this."""

WINDOW_SAMPLES = 144_160
"""Length of a DNSMOS window: 9.01 s."""

_WINDOW_SECONDS = WINDOW_SAMPLES // SAMPLE_RATE

Floats = NDArray[np.floating[Any]]


# --- DNSMOS P.835 -------------------------------------------------------------------------------------------


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
    # Found without importing it: the package's own modules need librosa and more, and none of them is used.
    package = importlib.util.find_spec("speechmos")
    if package is None or not package.submodule_search_locations:
        raise UsageError("DNSMOS needs the model in the package speechmos: pip install --no-deps speechmos")
    model = Path(package.submodule_search_locations[0], "dnsmos_models", "sig_bak_ovr.onnx")
    if not model.is_file():
        raise UsageError(f"DNSMOS model {model} is missing: reinstall the package speechmos")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


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


def choose_windows(energy: Floats, samples: int, limit: int = 12) -> list[int]:
    """Choose which windows of a recording to score: at most ``limit``, where most of the energy is.

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
    while audio.size < WINDOW_SAMPLES:
        audio = np.concatenate([audio, audio])
    seconds = WINDOW_SAMPLES / SAMPLE_RATE
    hops = int(audio.size // SAMPLE_RATE - seconds) + 1
    windows = [audio[hop * SAMPLE_RATE : int((hop + seconds) * SAMPLE_RATE)] for hop in range(hops)]
    # Rounding leaves some windows a sample short; the original passes over those, and so must its equal.
    whole = [window for window in windows if window.size == WINDOW_SAMPLES]
    return mean_score((model or Dnsmos()).score(whole))


# --- loudness -----------------------------------------------------------------------------------------------

_ABSOLUTE_GATE = -70.0
_BIN_LU = 0.01
_BINS = round(120 / _BIN_LU)


class LoudnessMeter:
    """Integrated loudness by ITU-R BS.1770-4, in memory that does not grow with the recording.

    Blocks of 400 ms every 100 ms are gathered in a histogram of 0.01 LU bins that keeps their energies: only
    blocks within 0.01 LU of the relative gate can be counted otherwise than by keeping them all.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._step = round(sample_rate / 10)
        self._weights = _channel_weights(channels)
        self._filters = _k_weighting(sample_rate)
        self._state = np.zeros((len(self._filters), channels, 2))
        self._pending = np.zeros((channels, 0))
        self._steps: Floats = np.zeros(0)
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._energies = np.zeros(_BINS)

    def push(self, chunk: Floats) -> None:
        """Take the next ``(channels, n)`` samples."""
        if chunk.size == 0:
            return
        samples = np.asarray(chunk, dtype=np.float64)
        filtered, self._state = sosfilt(self._filters, samples, axis=-1, zi=self._state)
        waiting = np.concatenate([self._pending, filtered], axis=-1)
        count = waiting.shape[-1] // self._step
        whole, self._pending = np.split(waiting, [count * self._step], axis=-1)
        steps = np.mean(whole.reshape(len(whole), count, self._step) ** 2, axis=-1)
        self._gather(np.concatenate([self._steps, self._weights @ steps]))

    def _gather(self, steps: Floats) -> None:
        blocks = np.convolve(steps, np.full(4, 0.25), mode="valid") if len(steps) >= 4 else np.zeros(0)
        self._steps = steps[-3:]
        blocks = blocks[blocks > _energy(_ABSOLUTE_GATE)]
        bins = ((_loudness(blocks) - _ABSOLUTE_GATE) / _BIN_LU).astype(int).clip(0, _BINS - 1)
        np.add.at(self._counts, bins, 1)
        np.add.at(self._energies, bins, blocks)

    def integrated(self) -> float | None:
        """Loudness so far in LUFS; None for silence and for less than 400 ms."""
        if not self._counts.any():
            return None
        relative_gate = float(_loudness(self._energies.sum() / self._counts.sum())) - 10
        first = max(0, math.ceil((relative_gate - _ABSOLUTE_GATE) / _BIN_LU))
        return float(_loudness(self._energies[first:].sum() / self._counts[first:].sum()))


def _loudness(energy: Any) -> Any:
    return -0.691 + 10 * np.log10(energy)  # BS.1770-4, equation 2


def _energy(loudness: float) -> float:
    return float(10 ** ((loudness + 0.691) / 10))


def _channel_weights(channels: int) -> Floats:
    """BS.1770-4, table 3, for L R C Ls Rs; six channels are 5.1 in WAV order, whose fourth does not count."""
    surround = {4: [1, 1, 1.41, 1.41], 5: [1, 1, 1, 1.41, 1.41], 6: [1, 1, 1, 0, 1.41, 1.41]}
    return np.array(surround.get(channels, [1] * channels), dtype=np.float64)


def _k_weighting(sample_rate: int) -> Floats:
    """Second-order sections ``(2, 6)`` of BS.1770-4, annex 1, for any sample rate.

    The standard tabulates them at 48 kHz only. The analogue prototypes behind its tables, as recovered by De
    Man (2014), give those tables back and hold at other rates.
    """
    warped, quality = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416 / quality
    poles = _poles(warped, quality)
    zeros = [high + band * warped + warped**2, 2 * (warped**2 - high), high - band * warped + warped**2]
    shelf = np.array([*zeros, *poles]) / poles[0]
    tabulated, poles = (
        _poles(math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773) for rate in (48_000, sample_rate)
    )
    # The table's numerator is 1, -2, 1: its pass band lies 0.04 dB above 0, and so it must at every rate.
    high_pass = np.array([tabulated[0], -2 * tabulated[0], tabulated[0], *poles]) / poles[0]
    return np.stack([shelf, high_pass])


def _poles(warped: float, quality: float) -> list[float]:
    return [1 + warped / quality + warped**2, 2 * (warped**2 - 1), 1 - warped / quality + warped**2]


# --- level profile ------------------------------------------------------------------------------------------

_FRAMES_PER_SECOND = 50
_LEVEL_BIN_DB = 0.1
_LEVEL_BINS = 1400
_CLIPPED = 0.999


@dataclass(frozen=True)
class Profile:
    """Levels of a recording.

    ``energy`` is the mean square of each second, ``(seconds,)``. Levels are in dB re full scale, never below
    ``FLOOR_DBFS``; ``clipped_share`` is of all samples, 0 to 1.
    """

    energy: Floats
    noise_floor_dbfs: float
    speech_level_dbfs: float
    peak_dbfs: float
    clipped_share: float


class ProfileMeter:
    """Measures levels in 20 ms frames: their 10th percentile is the noise floor, their 90th the speech level.

    Feed it the recording before resampling where clipping matters: a resampler rounds clipped tops off.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self._sample_rate = sample_rate
        self._pending = np.zeros(0)
        self._energy: list[float] = []
        self._levels = np.zeros(_LEVEL_BINS, dtype=np.int64)
        self._peak = 0.0
        self._clipped = 0
        self._values = 0

    def push(self, chunk: Floats) -> None:
        """Take the next ``(n,)`` or ``(channels, n)`` samples; energies are averaged over channels."""
        magnitude = np.abs(np.atleast_2d(chunk))
        self._peak = max(self._peak, float(magnitude.max(initial=0.0)))
        self._clipped += int(np.count_nonzero(magnitude >= _CLIPPED))
        self._values += magnitude.size
        waiting = np.concatenate([self._pending, np.mean(np.square(magnitude, dtype=np.float64), axis=0)])
        count = waiting.size // self._sample_rate
        whole, self._pending = np.split(waiting, [count * self._sample_rate])
        if count:
            seconds = whole.reshape(count, self._sample_rate)
            self._energy.extend(seconds.mean(axis=-1).tolist())
            self._levels += _level_histogram(seconds, self._sample_rate)

    def result(self) -> Profile:
        """The profile so far; a last second that is not whole counts as it is."""
        rest = self._pending
        levels = self._levels + _level_histogram(rest[None], self._sample_rate)
        return Profile(
            energy=np.array(self._energy + ([float(rest.mean())] if rest.size else [])),
            noise_floor_dbfs=_percentile(levels, 0.1),
            speech_level_dbfs=_percentile(levels, 0.9),
            peak_dbfs=max(FLOOR_DBFS, 20 * math.log10(max(self._peak, 1e-12))),
            clipped_share=self._clipped / max(self._values, 1),
        )


def _level_histogram(squares: Floats, sample_rate: int) -> NDArray[np.int64]:
    """Count by level the whole frames of ``(seconds, n)`` squared samples, ``n`` at most a second."""
    bounds = np.arange(_FRAMES_PER_SECOND + 1) * sample_rate // _FRAMES_PER_SECOND
    bounds = bounds[bounds <= squares.shape[-1]]
    if len(bounds) < 2:
        return np.zeros(_LEVEL_BINS, dtype=np.int64)
    frames = np.add.reduceat(squares[:, : bounds[-1]], bounds[:-1], axis=-1) / np.diff(bounds)
    levels = 10 * np.log10(np.maximum(frames, 1e-12))
    bins = ((levels - FLOOR_DBFS) / _LEVEL_BIN_DB).astype(int).clip(0, _LEVEL_BINS - 1)
    return np.bincount(bins.ravel(), minlength=_LEVEL_BINS)


def _percentile(levels: NDArray[np.int64], share: float) -> float:
    if not levels.any():
        return FLOOR_DBFS
    position = int(np.searchsorted(np.cumsum(levels), share * levels.sum(), side="right"))
    return round(FLOOR_DBFS + position * _LEVEL_BIN_DB, 1)


# --- with a reference ---------------------------------------------------------------------------------------

_PESQ_PIECE = 20 * SAMPLE_RATE
_SI_SDR_LIMIT = 100.0


@dataclass(frozen=True)
class ReferenceMeasures:
    """Distances of an estimate to its clean reference; None where a measure is not defined."""

    pesq: float | None
    estoi: float | None
    si_sdr: float | None


def compare(estimate: Floats, clean: Floats) -> ReferenceMeasures:
    """All measures of ``(samples,)`` against ``(samples,)`` at 16 kHz.

    Raises :class:`DataError` where the two differ in length or are not finite, :class:`UsageError` where the
    extra ``eval`` is missing.
    """
    return ReferenceMeasures(pesq_wb(estimate, clean), estoi(estimate, clean), si_sdr(estimate, clean))


def si_sdr(estimate: Floats, clean: Floats) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, equation 3), within -100 to 100.

    Any sample rate. None where either signal is silent.
    """
    if not _comparable(estimate, clean):
        return None
    estimate, clean = estimate.astype(np.float64), clean.astype(np.float64)
    target = (estimate @ clean) / (clean @ clean) * clean
    distortion = estimate - target
    signal, noise = float(target @ target), float(distortion @ distortion)
    limit = 10 ** (-_SI_SDR_LIMIT / 10)
    return 10 * math.log10(max(signal, noise * limit) / max(noise, signal * limit))


def pesq_wb(estimate: Floats, clean: Floats) -> float | None:
    """Wide-band PESQ (ITU-T P.862.2) at 16 kHz, 1.0 to 4.64; None where the reference holds no utterance.

    Above 20 s it is the mean over equal pieces of at most that: the ITU code that ``pesq`` wraps has room for
    fifty utterances and overruns it when there are more. Pieces without speech do not count.
    """
    pesq = _extra("pesq")
    if not _comparable(estimate, clean):
        return None
    count = -(-clean.size // _PESQ_PIECE)
    pieces = zip(np.array_split(clean, count), np.array_split(estimate, count), strict=True)
    scores = [_pesq_piece(pesq, reference, degraded) for reference, degraded in pieces]
    defined = [score for score in scores if score is not None]
    return sum(defined) / len(defined) if defined else None


def _pesq_piece(pesq: ModuleType, clean: Floats, estimate: Floats) -> float | None:
    if not (clean.any() and estimate.any()):
        return None
    score = float(pesq.pesq(SAMPLE_RATE, clean, estimate, "wb", on_error=pesq.PesqError.RETURN_VALUES))
    return score if score > 0 else None  # errors are negative numbers here, and NaN is not above zero


def estoi(estimate: Floats, clean: Floats) -> float | None:
    """Extended short-time objective intelligibility (Jensen and Taal 2016) at 16 kHz, up to 1.

    None where either signal is silent or less than 0.4 s of the reference is speech.
    """
    pystoi = _extra("pystoi")
    if not _comparable(estimate, clean) or clean.size < 0.4 * SAMPLE_RATE:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(clean, estimate, SAMPLE_RATE, extended=True))
        except RuntimeWarning:
            return None


def _comparable(estimate: Floats, clean: Floats) -> bool:
    """Whether there is a signal on both sides; raises :class:`DataError` for a pair that cannot be one."""
    if estimate.shape != clean.shape:
        raise DataError(f"estimate of {estimate.size} samples, reference of {clean.size}: cut to one length")
    if not (np.isfinite(estimate).all() and np.isfinite(clean).all()):
        raise DataError("estimate or reference holds samples that are NaN or infinite: write it again")
    return bool(estimate.any() and clean.any())


def _extra(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"this measure needs the package {name}: pip install 'exdiff[eval]'") from error
