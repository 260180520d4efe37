"""The tag of enhanced files: in every format that has a place for it, to the byte the same, and no sound changed."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
from bundles import short_settings
from mutagen.id3 import ID3, TIT2, TXXX
from mutagen.mp3 import MP3
from recordings import encode, samples_of, store, talk

from exdiff_cli.audio import chunks
from exdiff_cli.audio.formats import output_format
from exdiff_cli.audio.io import AtomicWriter, probe, read_windows
from exdiff_cli.audio.mp3_tags import put_text, read_text
from exdiff_cli.audio.provenance import NAME, TAGGED, Provenance, parse, read_provenance, write_provenance
from exdiff_cli.bundle import Bundle
from exdiff_cli.engine import enhance_all
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.report.sidecar import read_sidecar, sidecar_path
from exdiff_cli.settings import Resources
from exdiff_cli.storage import FORMATS, Storage

FIRST = Provenance("0.1.0", "exdiff-speech-16k", "0123456789ab", "a" * 64)
SECOND = Provenance("0.2.0", "Halle 3; größer\n", "ba9876543210", "b" * 64, is_generated=False)
NO_PLACE = {"w64", "au", "caf"}


def copy(source: Path, target: Path, said: Provenance | None = FIRST, storage: Storage | None = None) -> AtomicWriter:
    recording = probe(source)
    output = output_format(recording, storage or Storage())
    with AtomicWriter(target, recording, output, provenance=said) as writer:
        for window in read_windows(recording, 4_000):
            writer.write(window)
    return writer


def said_by(path: Path) -> list[Provenance]:
    found = probe(path)
    return read_provenance(path, found.container, found.subtype)


def source_for(tmp_path: Path, name: str) -> Path:
    return store(tmp_path / "a.wav", 1.0, 48_000 if name == "webm" else 16_000)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_it_is_or_that_it_cannot(tmp_path: Path, name: str) -> None:
    writer = copy(source_for(tmp_path, name), tmp_path / "out" / "a", storage=Storage(name))
    is_tagged = name not in NO_PLACE
    assert is_tagged is (FORMATS[name][0] in TAGGED)
    assert said_by(writer.target) == ([FIRST] if is_tagged else [])
    assert (writer.untagged is None) is is_tagged
    assert is_tagged or f"{FORMATS[name][0]} has no place for one" in str(writer.untagged)
    assert not is_tagged or b"partly generated" in writer.target.read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_sound_and_length_are_those_without_it(tmp_path: Path, name: str) -> None:
    source = source_for(tmp_path, name)
    tagged = copy(source, tmp_path / "tagged" / "a", storage=Storage(name)).target
    plain = copy(source, tmp_path / "plain" / "a", None, Storage(name)).target
    np.testing.assert_array_equal(samples_of(tagged), samples_of(plain))
    assert probe(tagged).frames == probe(source).frames
    assert said_by(plain) == []


@pytest.mark.parametrize("name", FORMATS)
def test_equal_inputs_give_equal_files(tmp_path: Path, name: str) -> None:
    source = source_for(tmp_path, name)
    files = [copy(source, tmp_path / str(turn) / "a", storage=Storage(name)).target for turn in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - NO_PLACE))
def test_what_is_enhanced_again_has_one_tag_with_both(tmp_path: Path, name: str) -> None:
    first = copy(source_for(tmp_path, name), tmp_path / "1" / "a", storage=Storage(name)).target
    second = copy(first, tmp_path / "2" / "a", SECOND).target
    assert said_by(second) == [FIRST, SECOND]
    assert second.read_bytes().count(b"exdiff 0.1.0;") == 1
    converted = copy(second, tmp_path / "3" / "a", FIRST, Storage("flac")).target
    assert said_by(converted) == [FIRST, SECOND, FIRST]


def test_a_line_says_the_same_when_it_is_read() -> None:
    awkward = Provenance("1", os.fsdecode(b"\xff; model \n<x>"), "f" * 12, "0" * 64)
    for each in (FIRST, SECOND, awkward):
        assert str(each).isascii()
        assert "\n" not in str(each)
        assert parse(str(each)) == [each]
    assert parse(f"nonsense\n{FIRST}\n{FIRST} and more\n") == [FIRST]


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_however_much_a_recording_says_the_latest_is_found(tmp_path: Path, name: str) -> None:
    source = copy(source_for(tmp_path, name), tmp_path / "1" / "a", None, Storage(name)).target
    found = probe(source)
    write_provenance(source, found.container, found.subtype, f"{SECOND}\n" * 2_000)
    target = copy(source, tmp_path / "2" / "a").target
    assert said_by(target)[-1] == FIRST
    assert target.stat().st_size < source.stat().st_size - 100_000


# --- what is there already ----------------------------------------------------------------------------------


def chunks_of(path: Path) -> list[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        found = list(chunks.chunks(file))
        contents = []
        for chunk in found:
            file.seek(chunk.start)
            contents.append((chunk.name, file.read(chunk.size)))
    return contents


@pytest.mark.parametrize(("container", "order"), [("WAV", "<"), ("RF64", "<"), ("AIFF", ">")])
def test_other_chunks_stay_as_they_are(tmp_path: Path, container: str, order: str) -> None:
    source = store(tmp_path / "a.wav", 0.2, container=container)
    whole = source.read_bytes()
    added = b"".join(struct.pack(order + "4sI", name, 4) + b"1234" for name in (b"bext", b"iXML", b"LIST"))
    place = slice(20, 28) if container == "RF64" else slice(4, 8)
    size = struct.pack("<Q" if container == "RF64" else order + "I", len(whole) + len(added) - 8)
    source.write_bytes(whole[: place.start] + size + whole[place.stop :] + added)
    target = copy(source, tmp_path / "b.wav").target
    kept = [chunk for chunk in chunks_of(target) if chunk[0] in (b"bext", b"iXML", b"LIST")]
    assert kept == [(b"bext", b"1234"), (b"iXML", b"1234"), (b"LIST", b"1234")]
    assert chunks_of(target)[-1] == (b"exdf", str(FIRST).encode())


def test_no_room_in_a_wav_is_said_and_costs_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = store(tmp_path / "a.wav", 0.2)
    monkeypatch.setattr(chunks, "_LONG", source.stat().st_size)
    writer = copy(source, tmp_path / "b.wav")
    assert "no tag in it says that it was enhanced: its tags and chunks would take" in str(writer.untagged)
    assert said_by(tmp_path / "b.wav") == []
    np.testing.assert_array_equal(samples_of(tmp_path / "b.wav"), samples_of(source))


@pytest.mark.parametrize("version", [3, 4])
def test_frames_of_mp3_stay_as_they_are(tmp_path: Path, version: int) -> None:
    source = store(tmp_path / "a.mp3", 0.5, subtype="MPEG_LAYER_III", container="MP3")
    file = MP3(source)
    file.add_tags()
    for frame in (TIT2(3, "Schicht 3"), TXXX(1, "agent", "ü17")):
        file.tags.add(frame)
    file.save(v2_version=version)
    target = copy(source, tmp_path / "b.mp3").target
    after = MP3(target).tags
    assert after.pop(f"TXXX:{NAME}").text == [str(FIRST)]
    assert dict(after) == dict(MP3(source).tags)
    assert said_by(target) == [FIRST]


def _digits(number: int) -> bytes:
    return bytes(number >> 7 * place & 0x7F for place in (3, 2, 1, 0))


def test_old_and_odd_tags_of_mp3(tmp_path: Path) -> None:
    """Version 2.2 has frames of its own; a footer repeats the size; an extended header may hold a checksum."""
    plain = store(tmp_path / "plain.mp3", 0.5, subtype="MPEG_LAYER_III", container="MP3").read_bytes()
    old, odd, footed = (tmp_path / name for name in ("old.mp3", "odd.mp3", "footed.mp3"))
    old.write_bytes(b"ID3\2\0\0" + _digits(13) + b"TT2\0\0\x07\0Lager9" + plain)
    assert said_by(copy(old, tmp_path / "1.mp3").target) == [FIRST]
    assert str(ID3(tmp_path / "1.mp3")["TIT2"]) == "Lager9"
    odd.write_bytes(b"ID3\3\0\x40" + _digits(14) + b"\0\0\0\x06" + bytes(10) + plain)
    assert "extended header" in str(copy(odd, tmp_path / "2.mp3").untagged)
    frame = b"TIT2" + _digits(7) + b"\0\0\0Lager9"
    footed.write_bytes(b"ID3\4\0\x10" + _digits(len(frame)) + frame + b"3DI\4\0\x10" + _digits(len(frame)) + plain)
    put_text(footed, NAME, str(FIRST))
    content = footed.read_bytes()
    assert content.endswith(plain)
    assert content[: -len(plain)][-10:] == b"3DI\4\0\x10" + content[6:10]
    with footed.open("rb") as file:
        assert read_text(file, NAME, 1_000) == str(FIRST)


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "m4a"])
def test_comments_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    if kind == "m4a":
        source = encode(tmp_path / "a.m4a", "ipod", "aac", 16_000, "mono", talk(0.5))
    else:
        source = copy(store(tmp_path / "a.wav", 0.5), tmp_path / "a", None, Storage(kind)).target
        file: Any = mutagen.File(source)
        file["title"] = "Schicht 3"
        file.save()
    before = dict(mutagen.File(source).tags)
    after = dict(mutagen.File(copy(source, tmp_path / f"b.{kind}").target).tags)
    ours = [name for name in after if name.lower().endswith(NAME.lower())]
    assert len(ours) == 1
    assert {name: value for name, value in after.items() if name not in ours} == before


# --- a whole run --------------------------------------------------------------------------------------------


@pytest.fixture
def quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])


@pytest.mark.usefixtures("quick_scores")
def test_a_run_tags_results_and_reports_those_it_cannot(tmp_path: Path, bundle: Bundle) -> None:
    store(tmp_path / "in" / "a.wav", 0.4)
    store(tmp_path / "in" / "b.au", 0.4, 8_000, subtype="ULAW", container="AU")
    store(tmp_path / "in" / "raw", 0.4, 8_000, subtype="GSM610", container="RAW").rename(tmp_path / "in" / "c.gsm")
    enhance_all([tmp_path / "in"], tmp_path / "out", bundle, short_settings(bundle, steps=0), Resources())
    for name in ("a.wav", "c.gsm.wav"):
        found = tmp_path / "out" / name
        if not found.exists():
            found = found.with_suffix(".flac")
        report = read_sidecar(sidecar_path(found))
        (said,) = said_by(found)
        assert (said.original_sha256, said.bundle) == (report.input.sha256, bundle.name)
        assert bundle.weights_sha256.startswith(said.weights)
        assert not said.is_generated
        assert not [change for change in report.changes if "no tag" in change]
    changes = read_sidecar(sidecar_path(tmp_path / "out" / "b.au")).changes
    assert changes == ("no tag in it says that it was enhanced: AU has no place for one",)


@pytest.mark.usefixtures("quick_scores")
def test_what_may_be_made_up_says_so(tmp_path: Path, bundle: Bundle) -> None:
    source = store(tmp_path / "a.wav", 0.4)
    for steps, is_generated in ((0, False), (1, True)):
        out = tmp_path / str(steps)
        enhance_all([source], out, bundle, short_settings(bundle, steps=steps), Resources())
        assert [said.is_generated for said in said_by(out / "a.wav")] == [is_generated]
    assert short_settings(bundle, steps=0, extend_band=True).is_generative
