"""Distances of an estimate to its clean reference."""

from __future__ import annotations

import importlib
import math
import warnings
from types import ModuleType

import numpy as np

from exdiff_cli.errors import DataError, UsageError
from exdiff_cli.measures import SAMPLE_RATE, Floats

_PESQ_PIECE = 20 * SAMPLE_RATE
_RATIO_LIMIT = 100.0


def si_sdr(estimate: Floats, clean: Floats) -> float | None:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, equation 3), within -100 to 100.

    Any sample rate. None where either signal is silent.
    """
    if not _comparable(estimate, clean):
        return None
    estimate, clean = estimate.astype(np.float64), clean.astype(np.float64)
    target = _projection(estimate, clean)
    return _ratio(target, estimate - target)


def si_sir_sar(estimate: Floats, clean: Floats, noisy: Floats) -> tuple[float | None, float | None]:
    """Scale-invariant signal-to-interference and signal-to-artefact ratios in dB, within -100 to 100.

    What is not target is split in two (Le Roux et al. 2019, section 3): interference, the part that the mixture's
    noise accounts for, and artefacts, the rest. None where a signal is silent or there is no noise.
    """
    if not (_comparable(estimate, clean) and _comparable(noisy, clean) and (noisy != clean).any()):
        return None, None
    estimate, clean, noisy = (signal.astype(np.float64) for signal in (estimate, clean, noisy))
    target = _projection(estimate, clean)
    noise = noisy - clean
    beside = noise - _projection(noise, clean)  # Orthogonal to the target, so that the two parts add up.
    if not beside.any():
        return None, None
    interference = _projection(estimate, beside)
    return _ratio(target, interference), _ratio(target, estimate - target - interference)


def _projection(signal: Floats, onto: Floats) -> Floats:
    return (signal @ onto) / (onto @ onto) * onto


def _ratio(signal: Floats, error: Floats) -> float:
    """In dB, bounded."""
    power, noise = float(signal @ signal), float(error @ error)
    limit = 10 ** (-_RATIO_LIMIT / 10)
    return 10 * math.log10(max(power, noise * limit) / max(noise, power * limit))


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
