from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from exdiff_cli.audio.resample import Samples, StreamResampler, resampled_length

PAIRS = [
    (8_000, 16_000),
    (44_100, 16_000),
    (48_000, 16_000),
    (16_000, 8_000),
    (16_000, 44_100),
    (16_000, 48_000),
    (24_000, 16_000),
    (96_000, 16_000),
]


def noise(channels: int, frames: int) -> Samples:
    return np.random.default_rng(7).uniform(-1, 1, (channels, frames)).astype(np.float32)


def chunks(signal: Samples, sizes: list[int]) -> Iterator[Samples]:
    """Cut ``signal`` into pieces whose sizes go round in ``sizes``."""
    start, turn = 0, 0
    while start < signal.shape[1]:
        size = sizes[turn % len(sizes)]
        yield signal[:, start : start + size]
        start, turn = start + size, turn + 1


def stream(signal: Samples, orig: int, new: int, sizes: list[int]) -> Samples:
    resampler = StreamResampler(orig, new)
    parts = [resampler.push(chunk) for chunk in chunks(signal, sizes)]
    return np.concatenate([*parts, resampler.flush()], axis=1)


def whole(signal: Samples, orig: int, new: int) -> Samples:
    # In double precision, as torchaudio rounds the phases of its float32 kernel by up to 1e-5.
    return resample(torch.from_numpy(signal).double(), orig, new).numpy()


@pytest.mark.parametrize(("orig", "new"), PAIRS)
@pytest.mark.parametrize("sizes", [[100_000], [1_600], [1, 441, 7, 0, 5_000]])
def test_stream_equals_resampling_the_whole(orig: int, new: int, sizes: list[int]) -> None:
    signal = noise(2, 12_347)
    streamed = stream(signal, orig, new, sizes)
    assert streamed.dtype == np.float32
    assert streamed.shape == (2, resampled_length(12_347, orig, new))
    np.testing.assert_allclose(streamed, whole(signal, orig, new), rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 19, 160, 441])
def test_streams_shorter_than_the_filter(frames: int) -> None:
    signal = noise(1, frames)
    np.testing.assert_allclose(stream(signal, 44_100, 16_000, [3]), whole(signal, 44_100, 16_000), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("orig", "new"), PAIRS)
def test_result_does_not_depend_on_the_chunks(orig: int, new: int) -> None:
    signal = noise(1, 50_000)
    np.testing.assert_array_equal(stream(signal, orig, new, [50_000]), stream(signal, orig, new, [999]))


def test_rates_without_a_common_divisor() -> None:
    seconds = np.arange(16_001) / 16_001
    tone = np.sin(2 * np.pi * 440 * seconds, dtype=np.float32)[None]
    result = stream(tone, 16_001, 16_000, [4_000])
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert result.shape == (1, 16_000)
    np.testing.assert_allclose(result[0, 100:-100], expected[100:-100], rtol=0, atol=2e-3)


@pytest.mark.parametrize(("orig", "new"), PAIRS)
def test_there_and_back_keeps_a_voice_band_tone_and_the_length(orig: int, new: int) -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(orig + 1) / orig, dtype=np.float32)[None]
    back = stream(stream(tone, orig, new, [1_000]), new, orig, [1_000])
    assert back.shape[1] >= tone.shape[1]
    np.testing.assert_allclose(back[:, 200 : orig - 200], tone[:, 200 : orig - 200], rtol=0, atol=5e-3)


def test_equal_rates_pass_through() -> None:
    signal = noise(3, 1_000)
    resampler = StreamResampler(16_000, 16_000)
    assert resampler.push(signal) is signal
    assert resampler.flush().shape == (3, 0)


def test_memory_is_bounded() -> None:
    resampler = StreamResampler(48_000, 16_000)
    for chunk in chunks(noise(1, 100_000), [4_800]):
        resampler.push(chunk)
        assert resampler._buffer is not None
        assert resampler._buffer.size < 100


def test_nothing_pushed_gives_nothing() -> None:
    assert StreamResampler(8_000, 16_000).flush().size == 0


@pytest.mark.parametrize(
    ("frames", "orig", "new", "expected"), [(0, 8, 16, 0), (1, 3, 1, 1), (3 * 10**10, 3, 2, 2 * 10**10)]
)
def test_resampled_length_rounds_up_exactly(frames: int, orig: int, new: int, expected: int) -> None:
    assert resampled_length(frames, orig, new) == expected


def test_rates_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        StreamResampler(0, 16_000)
