"""Voice activity: speech is found, noise is not, and where the signal was cut makes no difference."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import DATA
from signals import chunks

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.measures.activity import FRAME_SAMPLES, ActivityMeter, activity


def test_speech_is_found_and_noise_is_not() -> None:
    clean = read_mono(DATA / "clean.wav")
    noise = (0.05 * np.random.default_rng(0).normal(size=32_000)).astype(np.float32)
    judged = activity(np.concatenate([noise, clean, noise]))
    first, last = 32_000 // FRAME_SAMPLES, (32_000 + clean.size) // FRAME_SAMPLES
    assert judged[: first - 8].max() < 0.4
    assert judged[first:last].max() > 0.9
    assert judged[last + 16 :].max() < 0.4


def test_it_is_the_package_own_result() -> None:
    """Taken with SileroVADSequence of silero-vad 6.2.3."""
    judged = activity(read_mono(DATA / "noisy.wav"))
    assert judged.mean() == pytest.approx(0.670542, abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2])
def test_chunks_make_no_difference(seed: int) -> None:
    noisy = read_mono(DATA / "noisy.wav")
    meter = ActivityMeter()
    pieces = [meter.push(chunk) for chunk in chunks(noisy, seed)]
    np.testing.assert_allclose(np.concatenate([*pieces, meter.flush()]), activity(noisy), atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (512, 1), (513, 2), (1024, 2)])
def test_frames_are_counted_up(samples: int, frames: int) -> None:
    assert activity(np.zeros(samples, np.float32)).shape == (frames,)
