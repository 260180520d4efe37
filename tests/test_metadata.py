"""What a recording says of itself comes out as it went in: chunks to the byte, tags and pictures of every kind."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from full_disk import file_size_limit
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, TIT2, TXXX
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from recordings import encode, samples_of, talk

from exdiff_cli.audio import chunks
from exdiff_cli.audio.chunks import Chunk
from exdiff_cli.audio.io import AtomicWriter, probe, read_windows
from exdiff_cli.audio.recording import OutputFormat
from exdiff_cli.errors import OutputError

BEXT = b"Anruf 7".ljust(256, b"\0") + b"Leitstelle".ljust(32, b"\0") + bytes(314) + b"A=PCM,F=8000,W=16,M=mono\r\n"
IXML = b"<BWFXML><PROJECT>Halle 3</PROJECT></BWFXML>"  # of an odd length
INFO = b"INFOISRC\x04\0\0\0abc\0"
PNG = bytes.fromhex("89504e470d0a1a0a") + bytes(3_000)


def copy(source: Path, target: Path) -> AtomicWriter:
    recording = probe(source)
    with AtomicWriter(target, recording) as writer:
        for window in read_windows(recording, 1_000):
            writer.write(-window)
    return writer


def stored(path: Path, container: str, subtype: str = "PCM_16", endian: str = "FILE") -> Path:
    with soundfile.SoundFile(path, "w", 16_000, 1, subtype, endian, container) as file:
        file.write(talk(0.2).T)
    return path


def with_chunks(path: Path, *added: tuple[bytes, bytes], order: str = "<", first: bool = False) -> Path:
    """Add chunks to an IFF file, behind its sound or right after its head."""
    content = path.read_bytes()
    written = b"".join(
        struct.pack(order + "4sI", name, len(body)) + body + bytes(len(body) % 2) for name, body in added
    )
    content = content[:12] + written + content[12:] if first else content + written
    path.write_bytes(content[:4] + struct.pack(order + "I", len(content) - 8) + content[8:])
    return path


def found(path: Path) -> dict[bytes, bytes]:
    with path.open("rb") as file:
        return {chunk.name: read(file, chunk) for chunk in list(chunks.chunks(file))}


def read(file: Any, chunk: Chunk) -> bytes:
    file.seek(chunk.start)
    return file.read(chunk.size)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_broadcast_chunks_are_kept(tmp_path: Path, first: bool, endian: str) -> None:
    order = {"LITTLE": "<", "BIG": ">"}[endian]
    source = stored(tmp_path / "a.wav", "WAV", endian=endian)
    with_chunks(
        source, (b"bext", BEXT), (b"iXML", IXML), (b"LIST", b"INFOISRC\x04\0\0\0abc\0"), order=order, first=first
    )
    writer = copy(source, tmp_path / "b.wav")
    result = found(tmp_path / "b.wav")
    assert (result[b"bext"], result[b"iXML"]) == (BEXT, IXML)
    assert result[b"LIST"] == INFO
    assert writer.left_out is None
    assert probe(tmp_path / "b.wav").frames == probe(source).frames
    np.testing.assert_array_equal(soundfile.read(tmp_path / "b.wav")[0], -soundfile.read(source)[0])
    size = struct.unpack(order + "I", (tmp_path / "b.wav").read_bytes()[4:8])[0]
    assert size == (tmp_path / "b.wav").stat().st_size - 8


def test_what_is_of_the_old_sound_is_not_kept(tmp_path: Path) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV"), (b"PEAK", bytes(16)), (b"JUNK", bytes(99)))
    copy(source, tmp_path / "b.wav")
    assert set(found(tmp_path / "b.wav")) == {b"fmt ", b"data"}


def test_chunks_of_rf64_are_kept(tmp_path: Path) -> None:
    source = stored(tmp_path / "a.wav", "RF64")
    content = source.read_bytes() + struct.pack("<4sI", b"bext", len(BEXT)) + BEXT
    source.write_bytes(content[:20] + struct.pack("<Q", len(content) - 8) + content[28:])
    copy(source, tmp_path / "b.wav")
    assert found(tmp_path / "b.wav")[b"bext"] == BEXT
    assert struct.unpack("<Q", (tmp_path / "b.wav").read_bytes()[20:28])[0] == (tmp_path / "b.wav").stat().st_size - 8
    assert probe(tmp_path / "b.wav").frames == probe(source).frames


def test_chunks_of_aiff_are_kept(tmp_path: Path) -> None:
    source = with_chunks(stored(tmp_path / "a.aiff", "AIFF"), (b"NAME", b"Halle"), (b"APPL", b"xy"), order=">")
    copy(source, tmp_path / "b.aiff")
    result = found(tmp_path / "b.aiff")
    assert (result[b"NAME"], result[b"APPL"]) == (b"Halle", b"xy")
    assert dict(probe(tmp_path / "b.aiff").tags) == {"title": "Halle"}


def test_a_chunk_beyond_the_end_is_left_where_it_is(tmp_path: Path) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV"), (b"iXML", IXML))
    with source.open("ab") as file:
        file.write(struct.pack("<4sI", b"bext", 0xFFFF_FFF0) + b"short")
    copy(source, tmp_path / "b.wav")
    assert set(found(tmp_path / "b.wav")) == {b"fmt ", b"data", b"iXML"}


def test_no_room_for_chunks_is_said_and_costs_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV"), (b"bext", BEXT))
    monkeypatch.setattr(chunks, "_LONG", 6_500)
    writer = copy(source, tmp_path / "b.wav")
    assert writer.left_out is not None
    assert "beyond 4 GiB" in writer.left_out
    assert probe(tmp_path / "b.wav").frames == probe(source).frames


def test_what_a_recorder_reserved_behind_its_sound_is_no_chunk(tmp_path: Path) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV"), (b"iXML", IXML))
    with source.open("ab") as file:
        file.write(bytes(4_000_000))
    writer = copy(source, tmp_path / "b.wav")
    assert set(found(tmp_path / "b.wav")) == {b"fmt ", b"data", b"iXML"}
    assert (tmp_path / "b.wav").stat().st_size < 20_000
    assert writer.left_out is None


def test_more_chunks_than_any_program_writes_are_left_out(tmp_path: Path) -> None:
    source = stored(tmp_path / "a.wav", "WAV")
    with source.open("ab") as file:
        file.write(struct.pack("<4sI", b"abcd", 0) * 20_000)
    writer = copy(source, tmp_path / "b.wav")
    assert "more than 10000 chunks" in str(writer.left_out)
    assert set(found(tmp_path / "b.wav")) == {b"fmt ", b"data"}


@pytest.mark.parametrize("size", [0, 8, 400])
def test_a_short_or_strange_ds64_is_no_obstacle(tmp_path: Path, size: int) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV"), (b"iXML", IXML))
    with source.open("ab") as file:
        file.write(struct.pack("<4sI", b"ds64", size))
    copy(source, tmp_path / "b.wav")
    assert found(tmp_path / "b.wav")[b"iXML"] == IXML


def test_chunks_that_end_early_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV"), (b"bext", BEXT))
    longer = [Chunk(b"bext", source.stat().st_size - len(BEXT), len(BEXT) + 500)]
    real = chunks.chunks
    monkeypatch.setattr(chunks, "chunks", lambda file: iter(longer) if file.name == str(source) else real(file))
    writer = copy(source, tmp_path / "b.wav")
    assert "shorter meanwhile" in str(writer.left_out)
    monkeypatch.undo()
    assert set(found(tmp_path / "b.wav")) == {b"fmt ", b"data"}


@pytest.mark.parametrize("mask", [0x60F, 0, 0x107])
def test_loudspeakers_stay_who_they_are(tmp_path: Path, mask: int) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, talk(0.2, channels=6).T, 16_000, "PCM_16", format="WAVEX")
    content = source.read_bytes()
    place = content.index(b"fmt ") + 8 + 20
    source.write_bytes(content[:place] + struct.pack("<I", mask) + content[place + 4 :])
    copy(source, tmp_path / "b.wav")
    assert found(tmp_path / "b.wav")[b"fmt "][20:24] == struct.pack("<I", mask)


def test_numbers_of_another_byte_order_are_not_copied_blindly(tmp_path: Path) -> None:
    source = with_chunks(stored(tmp_path / "a.wav", "WAV", endian="BIG"), (b"LIST", INFO), order=">")
    recording = probe(source)
    with AtomicWriter(tmp_path / "b.wav", recording, OutputFormat("WAV", "PCM_24", "FILE", ".wav")) as writer:
        writer.write(samples_of(source))
    assert "byte order" in str(writer.left_out)
    assert set(found(tmp_path / "b.wav")) == {b"fmt ", b"data"}


# --- tags ---------------------------------------------------------------------------------------------------


def tag_flac(path: Path) -> None:
    file = FLAC(path)
    file["title"], file["odd key"] = "Schicht 3", ["eins", "zwei"]
    picture = Picture()
    picture.data, picture.mime = PNG, "image/png"
    file.add_picture(picture)
    file.save()


def tag_ogg(path: Path, kind: Any) -> None:
    file = kind(path)
    file["title"], file["metadata_block_picture"] = "Schicht 3", "AAAA" * 9_000
    file.save()


def tag_mp3(path: Path) -> None:
    file = MP3(path)
    file.add_tags()
    for frame in (TIT2(3, "Schicht 3"), TXXX(3, "agent", "17"), APIC(3, "image/png", 3, "", PNG)):
        file.tags.add(frame)
    file.save()


def tag_mp4(path: Path) -> None:
    file = MP4(path)
    file["\xa9nam"], file["covr"] = "Schicht 3", [MP4Cover(PNG, MP4Cover.FORMAT_PNG)]
    file["----:com.apple.iTunes:agent"] = [b"17"]
    file.save()


@pytest.fixture
def tagged(tmp_path: Path) -> dict[str, Path]:
    paths = {
        "flac": stored(tmp_path / "a.flac", "FLAC"),
        "vorbis": stored(tmp_path / "a.ogg", "OGG", "VORBIS"),
        "opus": stored(tmp_path / "a.opus", "OGG", "OPUS"),
        "mp3": stored(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III"),
        "mp4": encode(tmp_path / "a.m4a", "ipod", "aac", 16_000, "mono", talk(0.2)),
    }
    tag_flac(paths["flac"])
    tag_ogg(paths["vorbis"], OggVorbis)
    tag_ogg(paths["opus"], OggOpus)
    tag_mp3(paths["mp3"])
    tag_mp4(paths["mp4"])
    return paths


@pytest.mark.parametrize("kind", ["flac", "vorbis", "opus", "mp3", "mp4"])
def test_tags_and_pictures_are_kept(tagged: dict[str, Path], tmp_path: Path, kind: str) -> None:
    source = tagged[kind]
    writer = copy(source, tmp_path / f"b{source.suffix}")
    before, after = mutagen.File(source), mutagen.File(tmp_path / f"b{source.suffix}")
    assert writer.left_out is None
    assert before.tags
    if kind in ("mp3", "mp4"):
        assert dict(after.tags) == dict(before.tags)
    else:
        assert list(after.tags) == list(before.tags)
    assert [p.data for p in getattr(after, "pictures", [])] == [p.data for p in getattr(before, "pictures", [])]
    assert probe(tmp_path / f"b{source.suffix}").frames == probe(source).frames


def test_common_tags_go_over_to_another_kind(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.wma", "asf", "wmav2", 16_000, "stereo", talk(0.5, channels=2))
    copy(source, tmp_path / "b.wma")
    assert dict(probe(tmp_path / "b.wma.flac").tags) == {"title": "Schicht 3"}


def test_tags_that_cannot_be_read_are_said_and_cost_no_sound(
    tagged: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: FLAC, *_: Any) -> None:
        raise mutagen.MutagenError("not a valid FLAC block")

    monkeypatch.setattr(FLAC, "load", refuse)
    writer = copy(tagged["flac"], tmp_path / "b.flac")
    assert writer.left_out == "tags and the like are not kept: not a valid FLAC block"
    assert probe(tmp_path / "b.flac").frames == probe(tagged["flac"]).frames


@pytest.mark.parametrize("kind", ["flac", "mp3", "mp4"])
def test_a_disk_without_room_for_pictures_is_to_blame(tagged: dict[str, Path], tmp_path: Path, kind: str) -> None:
    copy(tagged[kind], tmp_path / f"b{tagged[kind].suffix}")
    room = (tmp_path / f"b{tagged[kind].suffix}").stat().st_size - 1_000
    with file_size_limit(room), pytest.raises(OutputError, match="cannot be written"):
        copy(tagged[kind], tmp_path / "out" / f"b{tagged[kind].suffix}")
    assert list((tmp_path / "out").iterdir()) == []


OF_THE_OLD_SOUND = {
    "flac": "replaygain_track_gain",
    "vorbis": "REPLAYGAIN_TRACK_GAIN",
    "opus": "R128_TRACK_GAIN",
    "mp4": "----:com.apple.iTunes:iTunSMPB",
}


@pytest.mark.parametrize("kind", OF_THE_OLD_SOUND)
def test_tags_about_the_old_sound_are_not_kept(tagged: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """What an encoder added and how loud it was; FFmpeg cuts off what the former says."""
    file = mutagen.File(tagged[kind])
    delay = " 00000000 00000840 000001C0 0000000000000400" + " 00000000" * 8
    file[OF_THE_OLD_SOUND[kind]] = [delay.encode()] if kind == "mp4" else ["-9"]
    file.save()
    target = tmp_path / f"b{tagged[kind].suffix}"
    copy(tagged[kind], target)
    after = mutagen.File(target)
    assert OF_THE_OLD_SOUND[kind] not in after
    assert len(after.tags) == len(file.tags) - 1
    assert probe(target).frames == probe(tagged[kind]).frames


def test_tags_of_mp3_about_the_old_sound_get_another_name(tagged: dict[str, Path], tmp_path: Path) -> None:
    file = MP3(tagged["mp3"])
    for encoding in (0, 1, 3):
        file.tags.add(TXXX(encoding, f"replaygain_{encoding}", "-9 dB"))
    file.tags.add(COMM(0, "eng", "iTunSMPB", " 00000000"))
    file.save()
    copy(tagged["mp3"], tmp_path / "b.mp3")
    names = [frame.desc for frame in MP3(tmp_path / "b.mp3").tags.values() if hasattr(frame, "desc")]
    assert sorted(names) == ["", "agent", "was_SMPB", *(f"was_aygain_{encoding}" for encoding in (0, 1, 3))]


def test_what_is_packed_in_a_tag_is_not_unpacked(tmp_path: Path) -> None:
    """A frame of a few bytes may hold gigabytes."""
    source = stored(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III")
    packed = zlib.compress(b"\0" + bytes(50_000_000), 9)
    frame = b"TXXX" + _syncsafe(len(packed) + 4) + b"\0\x09" + _syncsafe(50_000_001) + packed
    source.write_bytes(b"ID3\4\0\0" + _syncsafe(len(frame)) + frame + source.read_bytes())
    copy(source, tmp_path / "b.mp3")
    assert frame in (tmp_path / "b.mp3").read_bytes()
    assert (tmp_path / "b.mp3").stat().st_size < 100_000


def _syncsafe(number: int) -> bytes:
    return bytes(number >> 7 * place & 0x7F for place in (3, 2, 1, 0))


def test_tags_behind_the_sound_of_mp3_are_kept(tmp_path: Path) -> None:
    source = stored(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III")
    item = struct.pack("<II", 9_000, 0) + b"Cover Art\0" + bytes(9_000)
    footer = struct.pack("<8sIIII8x", b"APETAGEX", 2_000, len(item) + 32, 1, 0)
    tail = item + footer + b"TAG" + b"Schicht 3".ljust(125, b"\0")
    source.write_bytes(source.read_bytes() + tail)
    copy(source, tmp_path / "b.mp3")
    assert (tmp_path / "b.mp3").read_bytes().endswith(tail)
    assert probe(tmp_path / "b.mp3").frames == probe(source).frames


@pytest.mark.parametrize("kind", ["opus", "mp3"])
def test_pictures_are_not_taken_for_sound(tmp_path: Path, kind: str) -> None:
    """What a codec takes a second is that of the sound, or the result would be as large as the picture."""
    subtype = {"opus": "OPUS", "mp3": "MPEG_LAYER_III"}[kind]
    source = stored(tmp_path / f"a.{kind}", {"opus": "OGG", "mp3": "MP3"}[kind], subtype)
    before = probe(source).bit_rate
    if kind == "mp3":
        tag_mp3(source)
    else:
        tag_ogg(source, OggOpus)
    assert before is not None
    assert probe(source).bit_rate == pytest.approx(before, rel=0.1)
