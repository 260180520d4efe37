"""How results are stored: as their recordings are, as asked for, or not at all and said so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import encode, store, talk

from exdiff_cli.audio.formats import kept_formats, output_format
from exdiff_cli.audio.io import AtomicWriter, probe, read_windows
from exdiff_cli.audio.recording import OutputFormat, Recording
from exdiff_cli.errors import RecordingError, UsageError
from exdiff_cli.storage import FORMATS, Storage, parse_bit_rate

CALL = Recording(Path("call.wav"), 16_000, 1, 100, "WAV", "PCM_16", bits=16)


def copy(source: Path, target: Path, storage: Storage) -> Recording:
    recording = probe(source)
    with AtomicWriter(target, recording, output_format(recording, storage)) as writer:
        for window in read_windows(recording, 10_000):
            writer.write(window)
    return probe(writer.target)


@pytest.mark.parametrize(
    ("storage", "recording", "expected"),
    [
        (Storage(), CALL, OutputFormat("WAV", "PCM_16", "FILE")),
        (Storage("wav"), CALL, OutputFormat("WAV", "PCM_16", "FILE")),
        (Storage("flac"), CALL, OutputFormat("FLAC", "PCM_16", "FILE", ".flac")),
        (Storage("flac"), replace(CALL, subtype="FLOAT"), OutputFormat("FLAC", "PCM_16", "FILE", ".flac")),
        (Storage("flac"), replace(CALL, subtype="PCM_32", bits=32), OutputFormat("FLAC", "PCM_24", "FILE", ".flac")),
        (Storage("caf"), replace(CALL, subtype="ULAW"), OutputFormat("CAF", "ULAW", "FILE", ".caf")),
        (Storage(subtype="FLOAT"), CALL, OutputFormat("WAV", "FLOAT", "FILE", ".wav")),
        (Storage("mp3", bit_rate=32_000), CALL, OutputFormat("MP3", "MPEG_LAYER_III", "FILE", ".mp3", 32_000)),
        (Storage("opus"), CALL, OutputFormat("OGG", "OPUS", "FILE", ".opus")),
        (Storage(bit_rate=32_000), CALL, OutputFormat("WAV", "PCM_16", "FILE", "", 32_000)),
    ],
)
def test_what_is_asked_for_and_else_what_there_is(
    storage: Storage, recording: Recording, expected: OutputFormat
) -> None:
    assert output_format(recording, storage) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_what_it_is_given(tmp_path: Path, name: str) -> None:
    rate = 48_000 if name == "webm" else 16_000
    source = store(tmp_path / "a.wav", 1.0, rate, channels=2)
    result = copy(source, tmp_path / "out" / "a.wav", Storage(name))
    container, codec = FORMATS[name]
    assert result.container == container
    assert codec in (None, result.subtype)
    assert (result.sample_rate, result.channels, result.frames) == (rate, 2, rate)
    assert result.path.name == ("a.wav" if name == "wav" else f"a.wav.{name}")


@pytest.mark.parametrize(
    ("storage", "rate", "said"),
    [
        (Storage("flac", "FLOAT"), 16_000, "FLAC FLOAT"),
        (Storage(subtype="MADE_UP"), 16_000, "WAV MADE_UP"),
        (Storage("opus"), 44_100, "OGG OPUS, with 1 channels at 44100 Hz"),
        (Storage("m4a"), 5_000, "MP4 AAC, with 1 channels at 5000 Hz"),
    ],
)
def test_what_does_not_go_is_said(storage: Storage, rate: int, said: str) -> None:
    with pytest.raises(RecordingError, match=said):
        output_format(replace(CALL, sample_rate=rate), storage)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("bit_rate", [32_000, 64_000])
@pytest.mark.parametrize("name", ["mp3", "opus", "m4a"])
def test_bit_rates_are_those_that_were_asked_for_and_are_kept(
    tmp_path: Path, name: str, bit_rate: int, rate: int
) -> None:
    if name == "opus" and rate == 44_100:
        pytest.skip("Opus has no such rate")
    if name == "m4a" and bit_rate > 6 * rate:
        pytest.skip("AAC has at most six bits a sample")
    source = store(tmp_path / "a.wav", 20.0, rate=rate)
    first = copy(source, tmp_path / "a", Storage(name, bit_rate=bit_rate))
    second = copy(first.path, tmp_path / "b", Storage())
    assert size_of(first) == pytest.approx(bit_rate, rel=0.2)
    assert size_of(second) == pytest.approx(size_of(first), rel=0.1)


def size_of(recording: Recording) -> float:
    return 8 * recording.path.stat().st_size / recording.seconds


def test_a_format_that_is_asked_for_takes_what_ffmpeg_reads(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.amr", "amr", "libopencore_amrnb", 8_000, "mono", talk(1.0, 8_000))
    result = copy(source, tmp_path / "a.amr", Storage("wav", "ULAW"))
    assert (result.path.name, result.subtype, result.sample_rate) == ("a.amr.wav", "ULAW", 8_000)


@pytest.mark.parametrize(("text", "expected"), [("64k", 64_000), ("12200", 12_200), (" 128K", 128_000)])
def test_bit_rates_in_words(text: str, expected: int) -> None:
    assert parse_bit_rate(text) == expected


@pytest.mark.parametrize("text", ["", "k", "64 kbit", "-3", "6.4k"])
def test_bit_rates_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--bitrate"):
        parse_bit_rate(text)


@pytest.mark.parametrize("given", [{"format": "mp4"}, {"bit_rate": 1}, {"bit_rate": 10**9}])
def test_what_there_is_not_is_a_wrong_call(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"--format|--bitrate"):
        Storage(**given)  # type: ignore[arg-type]


def test_every_format_to_choose_is_one_that_is_kept() -> None:
    kept = kept_formats()
    assert all(
        container in kept and (codec is None or codec in kept[container]) for container, codec in FORMATS.values()
    )
    assert set(kept) - {"WAVEX", "NIST"} <= {container for container, _ in FORMATS.values()}
    assert soundfile.available_formats().keys() >= set(kept) - {"MP4", "MATROSKA"}


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24)])
def test_samples_are_rounded_not_cut_off(tmp_path: Path, subtype: str, bits: int) -> None:
    """What libsndfile makes of them while it clips lies half a step too low on average."""
    ramp = np.append(np.linspace(-1, 0.99, 20_000), 1.0).astype(np.float32)[None]
    stored = OutputFormat("WAV", subtype, "FILE").stored(ramp)
    soundfile.write(tmp_path / "a.wav", stored[0], 16_000, subtype)
    found = soundfile.read(tmp_path / "a.wav", dtype="float64")[0]
    step = 2.0 ** (1 - bits)
    assert abs((found[:-1] - ramp[0, :-1]).mean()) < 0.01 * step
    assert np.abs(found[:-1] - ramp[0, :-1]).max() <= 0.51 * step
    assert found[-1] == 1 - step
    np.testing.assert_array_equal(stored[0, :-1], found[:-1])


def test_floats_and_codecs_are_left_alone() -> None:
    ramp = np.linspace(-2, 2, 101, dtype=np.float32)[None]
    for subtype in ("FLOAT", "ULAW", "VORBIS"):
        assert OutputFormat("WAV", subtype, "FILE").stored(ramp) is ramp
