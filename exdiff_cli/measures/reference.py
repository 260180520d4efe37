"""Distances of an estimate to its clean reference."""

from __future__ import annotations

import importlib
import math
import warnings
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from exdiff_cli.errors import DataError, UsageError
from exdiff_cli.measures import SAMPLE_RATE, Floats

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
