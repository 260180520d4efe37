from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from full_disk import file_size_limit

from exdiff_cli import publish
from exdiff_cli.audio import sndfile
from exdiff_cli.audio.formats import as_it_is
from exdiff_cli.audio.io import AUDIO_SUFFIXES, AtomicWriter, file_sha256, probe, read_windows
from exdiff_cli.audio.recording import OutputFormat, Recording, Samples
from exdiff_cli.errors import OutputError, RecordingError
from exdiff_cli.publish import TEMPORARY_GLOB, publish_text

DATA = Path(__file__).parent / "data"
FRAMES = 4_001
EVERY_KEPT_FORMAT = [
    (container, subtype) for container, subtypes in sndfile.KEPT.items() for subtype in sorted(subtypes)
]


def sound(channels: int = 1, frames: int = FRAMES) -> Samples:
    """Smooth noise at about -12 dB: lossy codecs keep its level, and every window of it differs."""
    white = np.random.default_rng(5).standard_normal((channels, frames + 9))
    smooth = np.stack([np.convolve(row, np.hanning(9) / 4, "valid") for row in white])
    return (0.25 * smooth / np.abs(smooth).max()).astype(np.float32)[:, :frames]


def store(path: Path, samples: Samples, rate: int, container: str, subtype: str, endian: str | None = None) -> Path:
    with sf.SoundFile(os.fsencode(path), "w", rate, len(samples), subtype, endian or "FILE", container) as file:
        file.write(samples.T)
    return path


def load(path: Path, window: int = 1_000) -> Samples:
    return np.concatenate(list(read_windows(probe(path), window)), axis=1)


def copy(source: Path, target: Path) -> AtomicWriter:
    recording = probe(source)
    with AtomicWriter(target, recording) as writer:
        for window in read_windows(recording, 1_000):
            writer.write(window)
    return writer


def refusal(path: Path) -> str:
    """Probe and read ``path``, which must fail with one clear line; returns the problem."""
    with pytest.raises(RecordingError) as caught:
        load(path)
    error = caught.value
    assert error.path == path
    assert "\n" not in str(error)
    assert error.remedy
    return error.problem


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return store(tmp_path / "call.wav", sound(), 8_000, "WAV", "PCM_16")


# --- probe --------------------------------------------------------------------------------------------------


def test_probe_reads_the_header() -> None:
    recording = probe(DATA / "noisy.wav")
    assert recording == Recording(
        DATA / "noisy.wav", 16_000, 1, 34_548, "WAV", "PCM_16", "FILE", (), recording.modified_ns, recording.mode
    )
    assert recording.seconds == pytest.approx(2.159, abs=1e-3)


def test_probe_of_real_opus() -> None:
    recording = probe(DATA / "german.opus")
    assert (recording.container, recording.subtype, recording.sample_rate) == ("OGG", "OPUS", 16_000)
    assert load(DATA / "german.opus").shape == (1, recording.frames)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.wav", b"", "empty"),
        ("text.wav", b"These are minutes, not a recording.\n" * 30, "decoded"),
        ("text.au", b"libsndfile would take this for G.711.\n" * 30, "decoded"),
        ("text.raw", b"neither a header nor a known format\n" * 30, "decoded"),
        ("header.wav", b"RIFF\x04\x00\x00\x00WAVE", "decoded"),
        ("zeros.mp3", bytes(5_000), "decoded"),
    ],
)
def test_what_is_not_audio_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert problem in refusal(path)


def test_no_frames_are_refused(tmp_path: Path) -> None:
    assert "no audio" in refusal(store(tmp_path / "a.wav", sound(frames=0), 8_000, "WAV", "PCM_16"))


def test_folder_missing_file_and_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert "folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "gone.wav")
    assert "regular" in refusal(tmp_path / "pipe.wav")


def test_missing_permission_is_refused(wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)  # root may read everything, so that a mode would not do
    assert "not permitted" in refusal(wav)


def test_a_file_that_vanishes_after_probing_is_refused(wav: Path) -> None:
    recording = probe(wav)
    wav.unlink()
    with pytest.raises(RecordingError, match="does not exist"):
        next(read_windows(recording, 100))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"anruf-\xe4.wav")
    store(path, sound(), 8_000, "WAV", "PCM_16")
    copy(path, tmp_path / "out" / path.name)
    np.testing.assert_array_equal(load(tmp_path / "out" / path.name), load(path))


@pytest.mark.parametrize(("suffix", "subtype"), [(".gsm", "GSM610"), (".vox", "VOX_ADPCM")])
def test_headerless_telephone_formats(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = store(tmp_path / "raw", sound(frames=8_000), 8_000, "RAW", subtype).rename(tmp_path / f"a{suffix}")
    recording = probe(path)
    assert (recording.sample_rate, recording.subtype, recording.frames) == (8_000, subtype, 8_000)
    assert load(path).shape == (1, 8_000)


# --- What is cut off or damaged -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "ULAW"),
        ("WAV", "GSM610"),
        ("WAVEX", "PCM_24"),
        ("W64", "PCM_16"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_cut_off_file_is_refused(tmp_path: Path, container: str, subtype: str, share: float) -> None:
    path = store(tmp_path / "a", sound(frames=48_000), 16_000, container, subtype)
    os.truncate(path, int(path.stat().st_size * share))
    refusal(path)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_damage_in_the_middle_is_refused(tmp_path: Path, container: str, subtype: str, share: float) -> None:
    path = store(tmp_path / "a", sound(frames=48_000), 16_000, container, subtype)
    patch(path, int(path.stat().st_size * share), bytes(1_500))
    assert any(word in refusal(path) for word in ("damaged", "decoded"))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_one_wrong_bit_in_ogg_is_refused(tmp_path: Path, subtype: str, share: float) -> None:
    path = store(tmp_path / "a", sound(frames=48_000), 16_000, "OGG", subtype)
    content = path.read_bytes()
    place = int(len(content) * share)
    patch(path, place, bytes([content[place] ^ 1]))
    assert any(word in refusal(path) for word in ("damaged", "decoded"))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_files_joined_end_to_end_are_refused(tmp_path: Path, subtype: str) -> None:
    """libsndfile reads the first of them and says nothing of the others."""
    first, second = (store(tmp_path / name, sound(frames=9_000), 16_000, "OGG", subtype) for name in ("1", "2"))
    joined = tmp_path / "joined.ogg"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(RecordingError, match="several recordings end to end"):
        list(read_windows(probe(joined), 1_000))


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000])
def test_a_wav_from_a_pipe_does_not_count_as_cut_off(wav: Path, size: int) -> None:
    patch(wav, wav.read_bytes().index(b"data") + 4, size.to_bytes(4, "little"))
    assert load(wav).shape == (1, FRAMES)


def test_a_header_wrong_by_its_own_length_loses_nothing(wav: Path) -> None:
    patch(wav, wav.read_bytes().index(b"data") + 4, (2 * FRAMES + 44).to_bytes(4, "little"))
    assert load(wav).shape == (1, FRAMES)


def test_a_wav_beyond_its_4_gib_is_refused(wav: Path) -> None:
    patch(wav, wav.read_bytes().index(b"data") + 4, b"\xff\xff\xff\xff")
    os.truncate(wav, 2**32 + 2**20)  # sparse: takes no room
    assert "4 GiB" in refusal(wav)


def test_flac_from_a_pipe_is_counted(tmp_path: Path) -> None:
    path = store(tmp_path / "a.flac", sound(), 16_000, "FLAC", "PCM_16")
    patch(path, 21, bytes([path.read_bytes()[21] & 0xF0]) + bytes(4))  # "length unknown"
    assert probe(path).frames == FRAMES


def mp3(path: Path, mode: str, *, tagged: bool) -> bytes:
    with sf.SoundFile(
        path, "w", 16_000, 1, "MPEG_LAYER_III", format="MP3", compression_level=0.5, bitrate_mode=mode
    ) as file:
        file.write(sound(frames=64_000).T)
    content = path.read_bytes()
    start = content.index(b"\xff\xf3")
    return content if tagged else content[content.index(b"\xff\xf3", start + 4) :]


def test_an_untagged_mp3_is_counted_whatever_its_tags_take(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    audio = mp3(path, "CONSTANT", tagged=False)
    path.write_bytes(audio)
    frames = probe(path).frames
    id3 = b"ID3\x03\x00\x00" + bytes([0, 0, 40, 0]) + bytes(40 * 128)
    path.write_bytes(id3 + audio)
    assert probe(path).frames == frames == load(path).shape[1]


@pytest.mark.parametrize("joined", [True, False])
def test_mp3_audio_beyond_the_announced_length_is_refused(tmp_path: Path, joined: bool) -> None:
    path = tmp_path / "a.mp3"
    audio = mp3(path, "VARIABLE", tagged=joined)
    path.write_bytes(audio + audio if joined else audio)
    assert "more audio" in refusal(path)


def patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


# --- read_windows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "ALAW"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_windows_join_to_the_whole(tmp_path: Path, rate: int, channels: int, container: str, subtype: str) -> None:
    path = store(tmp_path / "a", sound(channels), rate, container, subtype)
    windows = list(read_windows(probe(path), 1_500))
    assert [window.shape for window in windows] == [(channels, 1_500), (channels, 1_500), (channels, 1_001)]
    assert all(window.dtype == np.float32 for window in windows)
    with sf.SoundFile(path) as file:
        np.testing.assert_array_equal(np.concatenate(windows, axis=1), file.read(FRAMES, "float32", always_2d=True).T)


def test_samples_that_are_not_finite_become_zero_and_are_counted(tmp_path: Path) -> None:
    samples = sound(2)
    samples[0, 10], samples[1, 20], samples[1, 3_000] = np.nan, np.inf, -np.inf
    reader = read_windows(probe(store(tmp_path / "a.wav", samples, 16_000, "WAV", "FLOAT")), 1_000)
    read = np.concatenate(list(reader), axis=1)
    assert reader.non_finite_samples == 3
    np.testing.assert_array_equal(read, np.where(np.isfinite(samples), samples, 0))


def test_a_window_needs_a_frame(wav: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        read_windows(probe(wav), 0)


# --- as_it_is and AtomicWriter -----------------------------------------------------------------------


@pytest.mark.parametrize(("container", "subtype"), EVERY_KEPT_FORMAT)
@pytest.mark.parametrize("channels", [1, 2])
def test_kept_formats_keep_everything(tmp_path: Path, container: str, subtype: str, channels: int) -> None:
    source = store(tmp_path / "source", sound(channels), 16_000, container, subtype)
    writer = copy(source, tmp_path / "result")
    recording, result = probe(source), probe(writer.target)
    assert replace(result, path=source, bit_rate=recording.bit_rate) == recording
    assert result.frames == FRAMES
    assert writer.format == OutputFormat(container, subtype, recording.endian)
    assert writer.format.kept
    original, copied = load(source), load(writer.target)
    if subtype in ("VORBIS", "OPUS", "MPEG_LAYER_III"):
        assert np.corrcoef(original.ravel(), copied.ravel())[0, 1] > 0.95
    else:
        np.testing.assert_array_equal(copied, original)


@pytest.mark.parametrize("frames", [1, 575, 1_152, 1_153, 9_999])
@pytest.mark.parametrize("rate", [8_000, 48_000])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS", "MPEG_LAYER_III"])
def test_lossy_formats_keep_every_length(tmp_path: Path, frames: int, rate: int, subtype: str) -> None:
    container = "MP3" if subtype == "MPEG_LAYER_III" else "OGG"
    source = store(tmp_path / "source", sound(2, frames), rate, container, subtype)
    assert load(copy(source, tmp_path / "result").target).shape == (2, frames)


@pytest.mark.parametrize(
    ("container", "subtype", "endian"),
    [("WAV", "PCM_16", "BIG"), ("AIFF", "PCM_24", "LITTLE"), ("AU", "FLOAT", "LITTLE")],
)
def test_byte_order_is_kept(tmp_path: Path, container: str, subtype: str, endian: str) -> None:
    source = store(tmp_path / "source", sound(), 16_000, container, subtype, endian)
    assert copy(source, tmp_path / "result").target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("container", "subtype", "expected"),
    [
        ("WAV", "GSM610", "PCM_16"),
        ("WAV", "IMA_ADPCM", "PCM_16"),
        ("W64", "MS_ADPCM", "PCM_16"),
        ("VOC", "ULAW", "PCM_16"),
        ("CAF", "ALAC_20", "PCM_24"),
        ("PAF", "PCM_24", "PCM_24"),
    ],
)
def test_other_formats_fall_back_to_flac(tmp_path: Path, container: str, subtype: str, expected: str) -> None:
    source = store(tmp_path / "call.x", sound(), 8_000, container, subtype)
    writer = copy(source, tmp_path / "out" / "call.x")
    assert writer.target == tmp_path / "out" / "call.x.flac"
    assert writer.format == OutputFormat("FLAC", expected, "FILE", ".flac")
    result = probe(writer.target)
    assert (result.container, result.subtype, result.frames) == ("FLAC", expected, probe(source).frames)


def test_floats_that_cannot_be_kept_become_wav(tmp_path: Path) -> None:
    source = store(tmp_path / "call.mat", sound(), 8_000, "MAT5", "DOUBLE")
    assert copy(source, tmp_path / "out" / "call.mat").format == OutputFormat("WAV", "DOUBLE", "FILE", ".wav")


@pytest.mark.parametrize(("channels", "container"), [(1, "FLAC"), (8, "FLAC"), (9, "WAV")])
def test_a_format_the_codec_cannot_write_falls_back(channels: int, container: str) -> None:
    impossible = Recording(Path("a.opus"), 44_100, channels, 100, "OGG", "OPUS")
    assert as_it_is(impossible).container == container


def test_a_fallback_keeps_the_name_of_a_wav(tmp_path: Path) -> None:
    output = OutputFormat("WAV", "PCM_16", "FILE", ".wav")
    assert output.target(Path("out/call.WAV")) == Path("out/call.WAV")
    assert output.target(Path("out/call.gsm")) == Path("out/call.gsm.wav")


def test_tags_and_modification_time_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    with sf.SoundFile(source, "w", 16_000, 1, "PCM_16", format="FLAC") as file:
        file.title, file.artist = "Gespräch 7", "Leitstelle"
        file.write(sound().T)
    os.utime(source, ns=(10**18, 10**18))
    copy(source, tmp_path / "b.flac")
    result = probe(tmp_path / "b.flac")
    assert dict(result.tags) == {"title": "Gespräch 7", "artist": "Leitstelle"}
    assert result.modified_ns == 10**18


def test_tags_a_container_cannot_hold_are_dropped(tmp_path: Path) -> None:
    source = store(tmp_path / "a.au", sound(), 16_000, "AU", "PCM_16")
    with AtomicWriter(tmp_path / "b.au", replace(probe(source), tags=(("title", "x"),))) as writer:
        writer.write(sound())
    assert probe(tmp_path / "b.au").tags == ()


@pytest.mark.parametrize(("subtype", "highest"), [("PCM_16", 1.0), ("ULAW", 1.0), ("FLOAT", 3.0)])
def test_only_floats_hold_what_exceeds_full_scale(tmp_path: Path, subtype: str, highest: float) -> None:
    source = store(tmp_path / "a.wav", sound(), 8_000, "WAV", subtype)
    loud = sound()
    loud[0, :2] = 3.0, -2.0
    with AtomicWriter(tmp_path / "b.wav", probe(source)) as writer:
        writer.write(loud)
    assert np.abs(load(writer.target)).max() == pytest.approx(highest, abs=0.05)
    assert load(writer.target)[0, 1] < -0.95


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664])
def test_folders_are_created_and_permissions_are_kept(wav: Path, tmp_path: Path, mode: int) -> None:
    wav.chmod(mode)
    target = tmp_path / "deep" / "er" / "b.wav"
    copy(wav, target)
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert os.listdir(target.parent) == ["b.wav"]


def test_the_time_of_writing_where_that_is_wanted(wav: Path, tmp_path: Path) -> None:
    os.utime(wav, ns=(10**18, 10**18))
    with AtomicWriter(tmp_path / "b.wav", probe(wav), keep_time=False) as writer:
        writer.write(sound())
    assert probe(tmp_path / "b.wav").modified_ns != 10**18


def test_an_older_result_stays_until_the_new_one_is_whole(wav: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "b.wav"
    publish_text(target, "older")
    with AtomicWriter(target, probe(wav)) as writer:
        writer.write(sound())
        assert target.read_text() == "older"
    assert probe(target).frames == FRAMES


def test_an_exception_leaves_nothing_behind(wav: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "b.wav"

    def crash() -> None:
        with AtomicWriter(target, probe(wav)) as writer:
            writer.write(sound()[:, :1_000])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("frames", [0, FRAMES - 1, FRAMES + 1])
def test_a_wrong_length_is_not_published(wav: Path, tmp_path: Path, frames: int) -> None:
    target = tmp_path / "out" / "b.wav"
    with (
        pytest.raises(RecordingError, match=f"{frames} of {FRAMES}"),
        AtomicWriter(target, probe(wav)) as writer,
    ):
        writer.write(sound(frames=frames))
    assert os.listdir(target.parent) == []


def test_a_format_that_stores_another_length_is_not_published(wav: Path, tmp_path: Path) -> None:
    padding = OutputFormat("WAV", "GSM610", "FILE")
    with (
        pytest.raises(RecordingError, match="GSM610 stored"),
        AtomicWriter(tmp_path / "b.wav", probe(wav), padding) as w,
    ):
        w.write(sound())
    assert not (tmp_path / "b.wav").exists()


def test_samples_that_are_not_finite_are_not_published(wav: Path, tmp_path: Path) -> None:
    samples = sound()
    samples[0, 5] = np.nan
    with (
        pytest.raises(RecordingError, match="not finite"),
        AtomicWriter(tmp_path / "b.wav", probe(wav)) as writer,
    ):
        writer.write(samples)
    assert sorted(os.listdir(tmp_path)) == ["call.wav"]


def test_a_read_error_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    source = store(tmp_path / "a.flac", sound(frames=48_000), 16_000, "FLAC", "PCM_16")
    os.truncate(source, source.stat().st_size // 2)
    with pytest.raises(RecordingError, match=r"a\.flac: "):
        copy(source, tmp_path / "out" / "a.flac")
    assert os.listdir(tmp_path / "out") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from exdiff_cli.audio.io import AtomicWriter, probe, read_windows
recording = probe(Path(sys.argv[1]))
with AtomicWriter(Path(sys.argv[2]), recording) as writer:
    writer.write(next(read_windows(recording, 1_000)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_file_under_the_final_name(wav: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "b.wav"
    ended = subprocess.run([sys.executable, "-c", KILLED, wav, target], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not target.exists()
    assert list(target.parent.iterdir()) == list(target.parent.glob(TEMPORARY_GLOB))


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)
def test_a_full_disk_is_one_clear_line(tmp_path: Path, container: str, subtype: str) -> None:
    source = store(tmp_path / "source", sound(frames=48_000), 16_000, container, subtype)
    with file_size_limit(5_000), pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
        copy(source, tmp_path / "out" / "b")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("number", "disk"), [(errno.ENOSPC, True), (errno.EIO, True), (errno.EROFS, True), (errno.EACCES, False)]
)
def test_an_error_says_whether_the_disk_is_to_blame(
    wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, disk: bool
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=os.strerror(number)) as refused:
        copy(wav, tmp_path / "b.wav")
    assert refused.value.disk is disk
    assert os.listdir(tmp_path) == ["call.wav"]


def test_a_name_that_may_not_last_is_taken_away_again(
    wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(publish, "_sync_folder", refuse)
    with pytest.raises(OutputError, match="Input/output error"):
        copy(wav, tmp_path / "b.wav")
    assert os.listdir(tmp_path) == ["call.wav"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(wav: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be written"):
        copy(wav, wav / "b.wav")


# --- Text and hashes ----------------------------------------------------------------------------------------


def test_publish_text_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    publish_text(path, "first")
    publish_text(path, "Größe \ud800\n")
    assert path.read_text(encoding="utf-8") == "Größe \\ud800\n"
    assert os.listdir(path.parent) == ["report.json"]


def test_publish_text_that_fails_keeps_the_older(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    publish_text(path, "older")
    with file_size_limit(1_000), pytest.raises(RecordingError, match="cannot be written"):
        publish_text(path, "x" * 10_000)
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["report.json"]


def test_file_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 100_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_audio_suffixes_are_lower_case_with_a_dot() -> None:
    assert {".wav", ".flac", ".ogg", ".opus", ".mp3"} <= AUDIO_SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)
