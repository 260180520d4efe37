"""Generated signals that measures take for speech, and ways to cut and spoil them."""

from __future__ import annotations

import numpy as np

from exdiff_cli.measures import SAMPLE_RATE, Floats


def voiced(seconds: float) -> Floats:
    """A buzz with moving pitch and formants, syllables and pauses: measures take it for speech."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * t) + 10 * np.sin(2 * np.pi * 2.3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    first, second = 500 + 250 * np.sin(2 * np.pi * 1.9 * t), 1500 + 500 * np.sin(2 * np.pi * 1.3 * t + 1)
    x = np.zeros_like(t)
    for k in range(1, 30):
        formants = [(first, 120, 1.0), (second, 160, 0.5), (2600, 250, 0.2)]
        gain = sum(peak / (1 + ((k * pitch - centre) / width) ** 2) for centre, width, peak in formants)
        x += gain * np.sin(k * phase)
    x *= np.clip(np.sin(2 * np.pi * 2.1 * t), 0, 1) ** 0.5 * (np.sin(2 * np.pi * 0.35 * t) > -0.5)
    return (x / np.abs(x).max() * 0.5).astype(np.float32)


def noisy(clean: Floats, snr: float) -> Floats:
    noise = np.random.default_rng(1).normal(size=clean.size) * np.sqrt(np.mean(clean**2))
    return (clean + noise * 10 ** (-snr / 20)).astype(np.float32)


def chunks(audio: Floats, seed: int = 3) -> list[Floats]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, audio.shape[-1], 20))
    return np.split(audio, cuts, axis=-1)
