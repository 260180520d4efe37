"""What `enhance --extend-band` comes to on clean talk: python docs/extend_band.py DATA, with exdiff's extra eval.

Recordings of DATA/speech/valid are taken to 8 kHz and back, and the band above is made up. Prints, against the
recordings as they were: log-spectral distance from 4 to 7.5 kHz, PESQ-WB, and DNSMOS OVRL.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from exdiff_cli.audio.band_above import RATE, BandAbove, spectra
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.resample import StreamResampler
from exdiff_cli.measures.dnsmos import Dnsmos, fill_window
from exdiff_cli.measures.reference import pesq_wb
from exdiff_cli.training.pool import find_audio

TELEPHONE, RECORDINGS, SHORTEST = 8_000, 24, 2 * RATE
ABOVE = slice(128, 240)
"""Bins of 31 Hz, from 4 to 7.5 kHz."""


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    resampler = StreamResampler(rate, wanted)
    return np.concatenate([resampler.push(samples), resampler.flush()], axis=1)


def extended(narrow: Samples) -> Samples:
    band = BandAbove(TELEPHONE, 1)
    return np.concatenate([band.restore(narrow, narrow), band.flush()], axis=1)[:, : narrow.shape[1]]


def distance(signal: Samples, reference: Samples) -> float:
    """In dB, over frames within 40 dB of the loudest."""
    first, second = (np.log10(np.abs(spectra(samples)) ** 2 + 1e-7) for samples in (signal, reference))
    spoken = second.max(-1) > second.max() - 4
    return float(10 * np.sqrt(np.square(first - second)[spoken][:, ABOVE].mean(-1)).mean())


def main(data: Path) -> None:
    paths = find_audio(data / "speech" / "valid")
    np.random.default_rng(1).shuffle(paths)
    scores: dict[str, list[tuple[float, float, float]]] = {"wide": [], "narrow": [], "extended": []}
    dnsmos = Dnsmos()
    long = (sound for path in paths if len(sound := read_mono(path)) >= SHORTEST)
    for wide, _ in zip(long, range(RECORDINGS), strict=False):
        narrow = resampled(resampled(wide[None], RATE, TELEPHONE), TELEPHONE, RATE)[:, : len(wide)]
        for name, signal in (("wide", wide), ("narrow", narrow[0]), ("extended", extended(narrow)[0])):
            ovrl = dnsmos.score([fill_window(signal)])[0].ovrl
            scores[name].append((distance(signal, wide), pesq_wb(signal, wide) or np.nan, ovrl))
    print("| | distance above 4 kHz, dB | PESQ-WB | OVRL |\n| --- | --- | --- | --- |")
    for name, rows in scores.items():
        print(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in np.nanmean(rows, axis=0))} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
