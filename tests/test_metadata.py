"""What a recording says of itself comes out as it went in: chunks to the byte, tags and pictures of every kind."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from full_disk import file_size_limit
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, TIT2, TXXX
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from recordings import encode, talk

from exdiff_cli.audio import chunks
from exdiff_cli.audio.chunks import Chunk
from exdiff_cli.audio.io import AtomicWriter, probe, read_windows
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
