"""What FFmpeg reads comes in whole and to the sample, and what it writes is as long as what went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from full_disk import file_size_limit
from recordings import encode

from exdiff_cli.audio import ffmpeg
from exdiff_cli.audio.io import AtomicWriter, probe, read_windows
from exdiff_cli.audio.recording import OutputFormat, Recording, Samples
from exdiff_cli.errors import OutputError, RecordingError

FRAMES = 30_011
# FFmpeg's muxer and encoder, rate, layout; what becomes of it here: container, codec, samples of delay and of padding.
READ = [
    ("mp4", "aac", 16_000, "mono", "MP4", "AAC", 16),
    ("ipod", "aac", 44_100, "stereo", "MP4", "AAC", 45),
    ("mov", "pcm_s16le", 48_000, "stereo", "MP4", "PCM_S16LE", 0),
    ("ipod", "alac", 48_000, "5.1", "MP4", "ALAC", 0),
    ("webm", "libopus", 48_000, "stereo", "MATROSKA", "OPUS", 0),
    ("matroska", "flac", 44_100, "mono", "MATROSKA", "FLAC", 0),
    ("matroska", "libmp3lame", 44_100, "stereo", "MATROSKA", "MP3", 0),
    ("3gp", "libopencore_amrnb", 8_000, "mono", "MP4", "AMR_NB", 200),
    ("amr", "libopencore_amrnb", 8_000, "mono", "AMR", "AMR_NB", 220),
    ("adts", "aac", 22_050, "mono", "ADTS", "AAC", 2_048),
    ("asf", "wmav2", 44_100, "stereo", "ASF", "WMAV2", 4_096),
    ("matroska", "flac", 48_000, "7.1", "MATROSKA", "FLAC", 0),
]
CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}


def sound(channels: int, rate: int, frames: int = FRAMES) -> Samples:
    """Sines that rise and fall once a second, another one on each channel."""
    time = np.arange(frames) / rate
    rows = [0.3 * np.sin(2 * np.pi * 250 * (channel + 2) * time) for channel in range(channels)]
    return (np.stack(rows) * np.sin(np.pi * time) ** 2).astype(np.float32)


def load(recording: Recording, window: int = 1_000) -> Samples:
    return np.concatenate(list(read_windows(recording, window)), axis=1)


@pytest.fixture
def m4a(tmp_path: Path) -> Path:
    return encode(tmp_path / "call.m4a", "ipod", "aac", 16_000, "mono", sound(1, 16_000))


@pytest.mark.parametrize(("muxer", "codec", "rate", "layout", "container", "subtype", "slack"), READ)
def test_what_others_wrote_is_read(
    tmp_path: Path, muxer: str, codec: str, rate: int, layout: str, container: str, subtype: str, slack: int
) -> None:
    channels = CHANNELS[layout]
    original = sound(channels, rate)
    path = encode(tmp_path / "misnamed.txt", muxer, codec, rate, layout, original)
    recording = probe(path)
    assert (recording.container, recording.subtype) == (container, subtype)
    assert (recording.sample_rate, recording.channels, recording.layout) == (rate, channels, layout)
    assert abs(recording.frames - FRAMES) <= slack
    decoded = load(recording)
    assert decoded.shape == (channels, recording.frames)
    shared = min(FRAMES, recording.frames)
    for row, first in zip(decoded, original, strict=True):
        assert abs(delay(row[:shared], first[:shared])) <= (45 if slack < 2_000 else slack)


def delay(late: Samples, early: Samples) -> int:
    spectrum = np.fft.rfft(late, 2 * len(late)) * np.fft.rfft(early, 2 * len(early)).conj()
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak if peak < len(late) else peak - 2 * len(late)


def test_windows_are_of_one_length_and_join_to_the_whole(m4a: Path) -> None:
    recording = probe(m4a)
    windows = list(read_windows(recording, 700))
    assert {window.shape[1] for window in windows[:-1]} == {700}
    np.testing.assert_array_equal(np.concatenate(windows, axis=1), load(recording, 1 << 20))


KEPT = [
    ("ipod", "aac", 16_000, "mono"),
    ("ipod", "aac", 8_000, "stereo"),
    ("mp4", "aac", 44_100, "5.1"),
    ("ipod", "alac", 48_000, "stereo"),
    ("ipod", "aac", 48_000, "7.1"),
    ("webm", "libopus", 48_000, "stereo"),
    ("webm", "libopus", 48_000, "7.1"),
]


@pytest.mark.parametrize(("muxer", "codec", "rate", "layout"), KEPT)
@pytest.mark.parametrize("frames", [1, 1_023, 1_024, 1_025, FRAMES])
def test_results_are_of_the_same_format_and_length(
    tmp_path: Path, muxer: str, codec: str, rate: int, layout: str, frames: int
) -> None:
    channels = CHANNELS[layout]
    exact = {"movie_timescale": str(rate)} if muxer != "webm" else None
    source = probe(encode(tmp_path / "source", muxer, codec, rate, layout, sound(channels, rate, frames), exact))
    with AtomicWriter(tmp_path / "result", source) as writer:
        for window in read_windows(source, 1_000):
            writer.write(window)
    result = probe(writer.target)
    assert writer.target == tmp_path / "result"
    assert (result.container, result.subtype, result.layout) == (source.container, source.subtype, layout)
    assert (result.sample_rate, result.frames) == (rate, source.frames)
    # FFmpeg cannot drop more than a packet at the end, which a sample of Opus would take.
    assert source.frames == (648 if (muxer, frames) == ("webm", 1) else frames)
    assert dict(result.tags)["title"] == "Schicht 3"
    if frames == FRAMES:
        assert np.abs(load(result) - load(source)).max() < 0.05


@pytest.mark.parametrize(
    ("muxer", "codec", "rate"), [("amr", "libopencore_amrnb", 8_000), ("asf", "wmav2", 44_100), ("adts", "aac", 16_000)]
)
def test_what_cannot_be_written_becomes_flac(tmp_path: Path, muxer: str, codec: str, rate: int) -> None:
    source = probe(encode(tmp_path / "call.x", muxer, codec, rate, "mono", sound(1, rate)))
    with AtomicWriter(tmp_path / "out" / "call.x", source) as writer:
        writer.write(load(source))
    assert writer.format == OutputFormat("FLAC", "PCM_16", "FILE", ".flac")
    assert probe(tmp_path / "out" / "call.x.flac").frames == source.frames


def refusal(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        load(probe(path))
    assert "\n" not in str(caught.value)
    return caught.value.problem


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize(("muxer", "codec"), [("ipod", "aac"), ("matroska", "flac")])
def test_what_is_cut_off_is_refused(tmp_path: Path, muxer: str, codec: str, share: float) -> None:
    path = encode(tmp_path / "a", muxer, codec, 48_000, "mono", sound(1, 48_000, 300_000))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "cut off" in refusal(path) or "cannot be decoded" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"\0\0\0\x20ftypisom" + bytes(99), b"\x1a\x45\xdf\xa3" + bytes(99), b"#!AMR\n", b"\xff\xf1" + bytes(99)]
)
def test_a_head_alone_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    refusal(tmp_path / "a")


@pytest.mark.parametrize(("muxer", "codec"), [("ipod", "aac"), ("ipod", "alac"), ("webm", "libopus")])
def test_a_full_disk_is_one_clear_line(tmp_path: Path, muxer: str, codec: str) -> None:
    source = probe(encode(tmp_path / "a", muxer, codec, 48_000, "mono", sound(1, 48_000, 300_000)))
    refused = pytest.raises(OutputError, match=r"cannot be written \(File too large\)")
    with file_size_limit(2_000), refused, AtomicWriter(tmp_path / "out" / "b", source) as writer:
        writer.write(load(source))
    assert list((tmp_path / "out").iterdir()) == []


def with_a_gap(path: Path, muxer: str, codec: str, size: int, gap: int) -> Path:
    """Fifty packets, ``gap`` samples of nothing, and fifty more, as a recorder leaves them that was paused."""
    with av.open(str(path), "w", format=muxer, options={"movie_timescale": "48000"}) as container:
        track: Any = container.add_stream(codec, rate=48_000, layout="mono")
        to_codec = av.AudioResampler(track.format, "mono", 48_000)
        for number in range(100):
            frame = av.AudioFrame.from_ndarray(sound(1, 48_000, size), format="fltp", layout="mono")
            frame.sample_rate = 48_000
            (converted,) = to_codec.resample(frame)
            converted.pts = number * size + (gap if number >= 50 else 0)
            container.mux(track.encode(converted))
        container.mux(track.encode(None))
    return path


@pytest.mark.parametrize(("muxer", "codec", "size"), [("mp4", "aac", 1_024), ("webm", "libopus", 960)])
def test_a_gap_in_a_file_s_times_is_silence(tmp_path: Path, muxer: str, codec: str, size: int) -> None:
    recording = probe(with_a_gap(tmp_path / "a", muxer, codec, size, 96_000))
    assert recording.frames == pytest.approx(100 * size + 96_000, abs=100)
    decoded = load(recording)[0]
    silent = np.flatnonzero(np.convolve(decoded != 0, np.ones(480), "valid") == 0)
    assert silent[0] == pytest.approx(50 * size, abs=1_500)
    assert silent[-1] - silent[0] == pytest.approx(96_000, abs=3_000)


def test_times_that_waver_are_no_gaps(tmp_path: Path) -> None:
    assert probe(with_a_gap(tmp_path / "a", "webm", "libopus", 960, 1_440)).frames == pytest.approx(96_000, abs=100)


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("stored", [("MP4", "AAC"), ("MP4", "ALAC"), ("MATROSKA", "OPUS")])
def test_what_can_be_written_is_known_beforehand(tmp_path: Path, channels: int, stored: tuple[str, str]) -> None:
    recording = Recording(tmp_path / "a.wav", 48_000, channels, 5_000, "WAV", "PCM_16")
    output = OutputFormat(*stored, "FILE", ".x")
    if not ffmpeg.can_write(output, recording):
        assert channels in (3, 4, 7, 8), "the usual layouts can be written"
        return
    with AtomicWriter(tmp_path / "b", recording, output) as writer:
        writer.write(sound(channels, 48_000, 5_000))
    assert (probe(writer.target).frames, probe(writer.target).channels) == (5_000, channels)


@pytest.mark.parametrize(("bits", "subtype"), [(16, "PCM_16"), (24, "PCM_24")])
def test_lossless_samples_stay_as_wide_as_they_were(tmp_path: Path, bits: int, subtype: str) -> None:
    recording = Recording(tmp_path / "a.wav", 48_000, 2, 5_000, "WAV", subtype, bits=bits)
    with AtomicWriter(tmp_path / "b", recording, OutputFormat("MP4", "ALAC", "FILE", ".m4a")) as writer:
        writer.write(sound(2, 48_000, 5_000))
    assert probe(writer.target).bits == bits


def test_the_number_of_a_track_goes_over(tmp_path: Path) -> None:
    """Both libraries have it, by different names."""
    recording = Recording(tmp_path / "a.wav", 48_000, 1, 5_000, "WAV", "PCM_16", tags=(("tracknumber", "7"),))
    for stored in (OutputFormat("MP4", "AAC", "FILE", ".m4a"), OutputFormat("FLAC", "PCM_16", "FILE", ".flac")):
        with AtomicWriter(tmp_path / "b", recording, stored) as writer:
            writer.write(sound(1, 48_000, 5_000))
        recording = probe(writer.target)
        assert dict(recording.tags)["tracknumber"] == "7"


def test_more_channels_than_a_layout_has_a_name_for_are_read(tmp_path: Path) -> None:
    original = sound(16, 48_000)
    recording = probe(encode(tmp_path / "a.mkv", "matroska", "pcm_s16le", 48_000, "hexadecagonal", original))
    np.testing.assert_allclose(load(recording), original, rtol=0, atol=1e-4)


def test_a_list_of_other_files_stays_closed(tmp_path: Path, m4a: Path) -> None:
    """FFmpeg's playlists name files and addresses; neither is read by a recording's name or content."""
    (tmp_path / "list.m4a").write_text(f"ffconcat version 1.0\nfile {m4a.name}\n")
    assert "cannot be decoded" in refusal(tmp_path / "list.m4a")


def test_a_video_gives_its_sound_and_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as container:
        pictures = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        track = container.add_stream("aac", rate=16_000, layout="mono")
        black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux(pictures.encode(black))
        container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(sound(1, 16_000), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    recording = probe(tmp_path / "a.mp4")
    assert recording.left_out == ("only the sound of a video",)
    assert ffmpeg.own_format(recording) is None
