"""Composite measures of signal, background and overall quality (Hu and Loizou 2008), from classical distances.

"Evaluation of Objective Quality Measures for Speech Enhancement", IEEE TASLP 16(1), table IX for the weights. Tables
of VoiceBank-DEMAND put wide-band PESQ where the paper had narrow-band, and so does this. All distances are of mono
float audio at 16 kHz in frames of 30 ms every 7.5 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import solve_toeplitz, toeplitz

from exdiff_cli.measures import SAMPLE_RATE, Floats

_FRAME = 480
_HOP = 120
_LPC_ORDER = 16
_KEPT_SHARE = 0.95
_EPSILON = float(np.finfo(np.float64).eps)

# Centres and widths, in Hertz, of the 25 critical bands of Klatt's weighted slope distance (1982).
# fmt: off
_CENTRES = np.array([
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72, 1442.54,
    1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
])
_WIDTHS = np.array([
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823, 168.154,
    183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
])
# fmt: on
_FFT = 1024
_GLOBAL_WEIGHT = 20.0
_LOCAL_WEIGHT = 1.0


@dataclass(frozen=True)
class CompositeScore:
    """Predicted opinions, 1 to 5: of signal distortion, of intrusive background, and overall."""

    csig: float
    cbak: float
    covl: float


def composite(estimate: Floats, clean: Floats, pesq: float) -> CompositeScore | None:
    """The three scores of ``(samples,)`` against ``(samples,)``, given their PESQ; None below two frames."""
    if clean.size < _FRAME + 2 * _HOP:
        return None
    estimate, clean = (signal.astype(np.float64) + _EPSILON for signal in (estimate, clean))
    ratio = _trimmed_mean(log_likelihood_ratios(estimate, clean))
    slopes = _trimmed_mean(weighted_slope_distances(estimate, clean))
    snr = float(segmental_snrs(estimate, clean).mean())
    return CompositeScore(
        csig=_opinion(3.093 - 1.029 * ratio + 0.603 * pesq - 0.009 * slopes),
        cbak=_opinion(1.634 + 0.478 * pesq - 0.007 * slopes + 0.063 * snr),
        covl=_opinion(1.594 + 0.805 * pesq - 0.512 * ratio - 0.007 * slopes),
    )


def _opinion(value: float) -> float:
    return float(np.clip(value, 1, 5))


def _trimmed_mean(distances: Floats) -> float:
    """Mean without the worst twentieth, as the paper's code takes it."""
    return float(np.sort(distances)[: round(len(distances) * _KEPT_SHARE)].mean())


def _frames(signal: Floats) -> Floats:
    """Windowed frames ``(frames, 480)``; the last one is left out, as the paper's code does."""
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, _FRAME + 1) / (_FRAME + 1)))
    return sliding_window_view(signal, _FRAME)[::_HOP][:-1] * window


def segmental_snrs(estimate: Floats, clean: Floats) -> Floats:
    """Signal-to-noise ratio of each frame ``(frames,)``, dB, within -10 to 35."""
    target = _frames(clean)
    noise = np.square(target - _frames(estimate)).sum(-1)
    ratios: Floats = np.clip(10 * np.log10(np.square(target).sum(-1) / (noise + _EPSILON) + _EPSILON), -10, 35)
    return ratios


def _autocorrelations(frames: Floats) -> Floats:
    """``(frames, order + 1)``."""
    return np.stack(
        [(frames[:, : _FRAME - lag] * frames[:, lag:]).sum(-1) for lag in range(_LPC_ORDER + 1)],
        axis=-1,
    )


def _predictor(correlation: Floats) -> Floats:
    """Error filter ``(order + 1,)`` of linear prediction."""
    # A trace of white noise keeps digital silence solvable.
    column = correlation[:-1] + np.eye(1, _LPC_ORDER)[0] * (1e-12 + 1e-10 * correlation[0])
    return np.concatenate(([1.0], -solve_toeplitz(column, correlation[1:])))


def log_likelihood_ratios(estimate: Floats, clean: Floats) -> Floats:
    """Itakura's log likelihood ratio of each frame ``(frames,)``: how ill the estimate's predictor fits the clean."""
    return np.array(
        [_log_likelihood_ratio(mine, theirs) for mine, theirs in zip(*map(_lags, (estimate, clean)), strict=True)]
    )


def _lags(signal: Floats) -> Floats:
    return _autocorrelations(_frames(signal))


def _log_likelihood_ratio(estimate: Floats, clean: Floats) -> float:
    covariance = toeplitz(clean)
    errors = [filter_ @ covariance @ filter_ for filter_ in (_predictor(estimate), _predictor(clean))]
    return float(np.log(max(errors[0], 1e-20) / max(errors[1], 1e-20)))


def _critical_bands() -> Floats:
    """Gaussian filters ``(25, 512)`` over the bins of a transform, of equal area, cut off at -30 dB."""
    bins = _FFT // 2
    centre, width = (hertz[:, None] / (SAMPLE_RATE / 2) * bins for hertz in (_CENTRES, _WIDTHS))
    filters = np.exp(-11 * ((np.arange(bins) - np.floor(centre)) / width) ** 2 + np.log(width[0] / width))
    return np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0.0)


def weighted_slope_distances(estimate: Floats, clean: Floats) -> Floats:
    """Klatt's distance of the spectral slopes between neighbouring critical bands, of each frame ``(frames,)``."""
    (mine, my_weight), (theirs, their_weight) = _slopes(estimate), _slopes(clean)
    weight = (my_weight + their_weight) / 2
    distances: Floats = (weight * np.square(mine - theirs)).sum(-1) / weight.sum(-1)
    return distances


def _slopes(signal: Floats) -> tuple[Floats, Floats]:
    """Slopes in dB a band and their weights, ``(frames, 24)``: near spectral peaks they count most."""
    power = np.square(np.abs(np.fft.rfft(_frames(signal), _FFT)))[:, :-1]
    level = 10 * np.log10(np.maximum(power @ _critical_bands().T, 1e-10))
    slopes = np.diff(level, axis=-1)
    below_top = level.max(-1, keepdims=True) - level[:, :-1]
    below_peak = _nearest_peak(level, slopes) - level[:, :-1]
    weight = _GLOBAL_WEIGHT / (_GLOBAL_WEIGHT + below_top) * _LOCAL_WEIGHT / (_LOCAL_WEIGHT + below_peak)
    return slopes, weight


def _nearest_peak(level: Floats, slopes: Floats) -> Floats:
    """Level of the peak that each band's slope climbs to, ``(frames, 24)``.

    Going up it is the band before the top: the paper's code stops there, and so do all published figures.
    """
    bands = slopes.shape[-1]
    index = np.arange(bands)
    first_fall = np.where(slopes <= 0, index, bands)
    above = np.minimum.accumulate(first_fall[:, ::-1], axis=-1)[:, ::-1] - 1
    last_rise = np.where(slopes > 0, index, -1)
    below = np.maximum.accumulate(last_rise, axis=-1) + 1
    return np.take_along_axis(level, np.where(slopes > 0, above, below), axis=-1)
