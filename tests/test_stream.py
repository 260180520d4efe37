"""One recording on its way: nothing lost or added, and nothing left behind where it ends early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import OVERLAP, SAMPLER, SEGMENT
from recordings import cut_off, samples_of, store, talk

from exdiff_cli import result as result_module
from exdiff_cli.audio.io import AtomicWriter, probe
from exdiff_cli.enhancer import Enhanced
from exdiff_cli.errors import RecordingError
from exdiff_cli.jobs import Job
from exdiff_cli.manifest import fingerprint
from exdiff_cli.measures.loudness import LoudnessMeter
from exdiff_cli.measures.true_peak import true_peaks
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.result import WINDOW_SECONDS
from exdiff_cli.settings import Settings
from exdiff_cli.stream import RecordingStream, StreamPiece

MODEL_RATE = 16_000
SETTINGS = Settings(SAMPLER, SEGMENT, OVERLAP)


def open_stream(source: Path, target: Path | None = None, settings: Settings = SETTINGS) -> RecordingStream:
    job = Job(source, Path(source.name))
    target = target or source.parent / "out" / source.name
    return RecordingStream(job, probe(source), fingerprint(source), target, settings, MODEL_RATE)


def pass_through(stream: RecordingStream) -> list[bool]:
    """Accept every piece as it is; returns what ``accept`` said of each."""
    return [stream.accept(piece, Enhanced(piece.piece.samples)) for piece in stream.pieces()]


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(TEMPORARY_GLOB))


# --- nothing lost or added ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.01, 1.0, SEGMENT / 16_000, 2.3, WINDOW_SECONDS + 1.7])
@pytest.mark.parametrize("channels", [1, 2])
def test_unchanged_pieces_give_the_recording_back(tmp_path: Path, seconds: float, channels: int) -> None:
    stream = open_stream(store(tmp_path / "a.wav", seconds, channels=channels))
    accepted = pass_through(stream)
    assert accepted == [False] * (len(accepted) - 1) + [True]
    stream.publish()
    np.testing.assert_allclose(samples_of(stream.writer.target), talk(seconds, 16_000, channels), rtol=0, atol=1e-4)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("frames", [1, 7_999, 52_345])
def test_other_rates_keep_every_frame(tmp_path: Path, rate: int, frames: int) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(frames) / rate)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1), rate, "FLOAT")
    stream = open_stream(tmp_path / "a.wav")
    pass_through(stream)
    stream.publish()
    result = samples_of(stream.writer.target)
    assert result.shape == (2, frames)
    assert probe(stream.writer.target).sample_rate == rate
    inside = slice(frames // 4, 3 * frames // 4)  # at the ends a resampler rings
    np.testing.assert_allclose(result[0, inside], tone[inside], rtol=0, atol=2e-3)
    np.testing.assert_array_equal(result[0], -result[1])


def test_pieces_cover_the_recording_once(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav", 12.3, rate=8_000, channels=2))
    found = list(stream.pieces())
    assert sum(map(stream.advance_seconds, found)) == pytest.approx(12.3)
    assert [piece.part.channels for piece in found] == [(0,), (1,)] * (len(found) // 2)
    assert [piece.segment.last for piece in found] == [False] * (len(found) - 2) + [True] * 2


def test_every_piece_has_its_own_seed_of_the_content(tmp_path: Path) -> None:
    def seeds(name: str, seconds: float = 3.0) -> list[int]:
        stream = open_stream(store(tmp_path / name, seconds, channels=2))
        return [piece.piece.seed for piece in stream.pieces()]

    first = seeds("a.wav")
    assert len(set(first)) == len(first) == 8
    assert seeds("same-content.wav") == first
    assert not set(seeds("another.wav", 3.1)) & set(first)


def test_meters_see_both_sides(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav", 3.0))
    for piece in stream.pieces():
        stream.accept(piece, Enhanced(np.float32(0.5) * piece.piece.samples))
    stream.complete()
    before, after = stream.before.loudness(), stream.after.loudness()
    assert before is not None
    assert after == pytest.approx(before - 6.02, abs=0.05)
    assert stream.after.profile().peak_dbfs == pytest.approx(stream.before.profile().peak_dbfs - 6.02, abs=0.05)
    stream.discard()


@pytest.mark.parametrize("channels", [2, 6])
def test_equal_channels_are_one_piece(tmp_path: Path, channels: int) -> None:
    sound = talk(SEGMENT / 16_000 * 2.5)
    soundfile.write(tmp_path / "a.wav", np.repeat(sound, channels, axis=0).T, 16_000, "FLOAT")
    stream = open_stream(tmp_path / "a.wav")
    pieces = list(stream.pieces())
    assert {piece.part.channels for piece in pieces} == {tuple(range(channels))}
    assert sum(map(stream.advance_seconds, pieces)) == pytest.approx(stream.recording.seconds)
    accepted = [stream.accept(piece, Enhanced(-piece.piece.samples)) for piece in pieces]
    assert accepted == [False] * (len(accepted) - 1) + [True]
    stream.publish()
    np.testing.assert_allclose(samples_of(stream.writer.target), -np.repeat(sound, channels, axis=0), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_decoding_in_windows_leaves_no_seams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    """Whatever is made of the pieces, the result is the same as of a recording decoded at once."""
    source = store(tmp_path / "a.wav", 23.7, rate=rate, channels=2, subtype="FLOAT")
    results = []
    for seconds in (600, 2, WINDOW_SECONDS):
        monkeypatch.setattr(result_module, "WINDOW_SECONDS", seconds)
        stream = open_stream(source, tmp_path / f"{seconds}.wav")
        for piece in stream.pieces():
            stream.accept(piece, Enhanced(np.tanh(3 * piece.piece.samples)))
        stream.publish()
        results.append(samples_of(stream.writer.target))
    level = np.sqrt(np.mean(results[0] ** 2))
    for windowed in results[1:]:
        assert np.abs(windowed - results[0]).max() < 1e-4 * level  # -80 dB


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("loudness", [-35.0, -23.0, -18.0])
def test_a_result_is_as_loud_as_was_asked_for(tmp_path: Path, loudness: float, subtype: str) -> None:
    source = store(tmp_path / "a.wav", WINDOW_SECONDS + 2.5, rate=44_100, channels=2, subtype=subtype)
    stream = open_stream(source, settings=replace(SETTINGS, loudness=loudness))
    pass_through(stream)
    stream.complete()
    stream.publish()
    result = samples_of(stream.writer.target)
    meter = LoudnessMeter(44_100, 2)
    meter.push(result)
    assert meter.integrated() == pytest.approx(loudness, abs=0.5)
    assert stream.after.loudness() == pytest.approx(meter.integrated(), abs=0.1)
    assert result.shape[1] == stream.recording.frames
    assert any("loudness changed by" in change for change in stream.changes)
    assert not leftovers(tmp_path)


def test_silence_has_no_loudness_to_change(tmp_path: Path) -> None:
    source = store(tmp_path / "a.wav", gain=0.0)
    stream = open_stream(source, settings=replace(SETTINGS, loudness=-23.0))
    pass_through(stream)
    stream.complete()
    stream.publish()
    assert not samples_of(stream.writer.target).any()
    assert stream.changes == []


@pytest.mark.parametrize(("rate", "subtype"), [(8_000, "ULAW"), (8_000, "PCM_16"), (11_025, "PCM_24")])
def test_a_band_is_extended_where_that_is_asked_for(tmp_path: Path, rate: int, subtype: str) -> None:
    source = store(tmp_path / "a.wav", WINDOW_SECONDS + 2.5, rate=rate, channels=2, subtype=subtype)
    plain, wide = (
        open_stream(source, tmp_path / f"{extend}.wav", settings=replace(SETTINGS, extend_band=extend))
        for extend in (False, True)
    )
    for stream in (plain, wide):
        pass_through(stream)
        stream.publish()
    result = probe(wide.writer.target)
    assert (result.sample_rate, result.channels, result.subtype) == (16_000, 2, subtype)
    assert result.frames == -(-plain.recording.frames * 16_000 // rate)
    assert f"above {rate // 2} Hz made up, and stored at 16000 Hz in place of {rate}: as asked for" in wide.changes
    assert not any("made up" in change for change in plain.changes)
    assert wide.after.loudness() == pytest.approx(wide.before.loudness(), abs=1.0)
    assert probe(plain.writer.target).sample_rate == rate


def test_a_wide_band_has_nothing_to_extend(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav"), settings=replace(SETTINGS, extend_band=True))
    pass_through(stream)
    stream.publish()
    assert (probe(stream.writer.target).sample_rate, stream.changes) == (16_000, [])


# --- what is said of the result -----------------------------------------------------------------------------


def changes(stream: RecordingStream, gain: float = 1.0) -> str:
    for piece in stream.pieces():
        stream.accept(piece, Enhanced(gain * piece.piece.samples))
    stream.publish()
    return "\n".join(stream.changes)


def test_nothing_is_said_where_nothing_changed(tmp_path: Path) -> None:
    assert changes(open_stream(store(tmp_path / "a.wav"))) == ""


def test_a_lost_high_band_is_said(tmp_path: Path) -> None:
    assert "above 8000 Hz" in changes(open_stream(store(tmp_path / "a.wav", rate=44_100)))


def test_another_format_is_said(tmp_path: Path) -> None:
    path = store(tmp_path / "a.wav", rate=8_000, subtype="GSM610")
    assert "stored as FLAC PCM_16: WAV GSM610" in changes(open_stream(path))


def test_a_stereo_image_is_said(tmp_path: Path) -> None:
    sound = talk(2.0)[0]
    soundfile.write(tmp_path / "a.wav", np.stack([sound, 0.5 * sound], axis=1), 16_000)
    said = "one mask for both channels, which held one sound, in 3 of 3 segments"
    assert said in changes(open_stream(tmp_path / "a.wav"))


def test_peaks_are_turned_down_and_that_is_said(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav"))
    assert "turned down, as no peak may exceed full scale" in changes(stream, gain=20.0)
    result = samples_of(stream.writer.target)
    assert 0.9 < true_peaks(result).max() <= 1.001
    assert np.mean(np.abs(result) > 0.999) < 0.01  # it is not clipped


def test_floats_may_exceed_full_scale(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav", subtype="FLOAT"))
    assert changes(stream, gain=20.0) == ""
    np.testing.assert_allclose(samples_of(stream.writer.target), 20 * samples_of(tmp_path / "a.wav"), rtol=1e-4)


def test_samples_that_are_not_numbers_are_said(tmp_path: Path) -> None:
    samples = talk(2.0)[0]
    samples[1_000:1_003] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16_000, "FLOAT")
    assert "3 samples that were not numbers" in changes(open_stream(tmp_path / "a.wav"))


# --- ending early -------------------------------------------------------------------------------------------


def begin(stream: RecordingStream) -> StreamPiece:
    """Accept the first piece, so that a temporary file is open; returns the second."""
    first, second = list(stream.pieces())[:2]
    stream.accept(first, Enhanced(first.piece.samples))
    return second


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav", 5.0))
    begin(stream)
    assert leftovers(tmp_path)
    stream.discard()
    stream.discard()
    assert stream.failed
    assert not leftovers(tmp_path)
    assert not stream.writer.target.exists()


def test_discard_of_an_unopened_stream(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav"))
    stream.discard()
    assert stream.failed
    assert not stream.writer.target.parent.exists()


def test_discard_keeps_what_is_published(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav"))
    pass_through(stream)
    stream.publish()
    stream.discard()
    assert samples_of(stream.writer.target).size


def test_discard_keeps_an_earlier_result(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.wav"
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    stream = open_stream(store(tmp_path / "a.wav", 5.0), target)
    begin(stream)
    stream.discard()
    assert target.read_bytes() == b"earlier"


def test_a_full_disk_does_not_stop_a_discard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_stream(store(tmp_path / "a.wav", 5.0))
    begin(stream)
    original: Callable[..., None] = AtomicWriter.__exit__

    def fail(writer: AtomicWriter, *error: Any) -> None:
        original(writer, *error)
        raise RecordingError(writer.target, "cannot be written (No space left on device)", "check free space")

    monkeypatch.setattr(AtomicWriter, "__exit__", fail)
    stream.discard()
    assert not leftovers(tmp_path)


def test_decoding_ends_with_the_stream(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav", 3 * WINDOW_SECONDS, rate=8_000))
    pieces = stream.pieces()
    next(pieces)
    stream.discard()
    rest = [piece.segment for piece in pieces]
    assert not any(segment.last for segment in rest)
    in_a_window = WINDOW_SECONDS * MODEL_RATE / (SEGMENT - OVERLAP)
    assert len(rest) < in_a_window  # no more than those of the window in hand


def test_an_incomplete_result_is_not_published(tmp_path: Path) -> None:
    stream = open_stream(store(tmp_path / "a.wav", 5.0))
    begin(stream)
    with pytest.raises(RecordingError, match="frames were written"):
        stream.publish()
    stream.discard()
    assert not stream.writer.target.exists()
    assert not leftovers(tmp_path)


def test_damage_in_the_middle_comes_after_the_pieces_before_it(tmp_path: Path) -> None:
    stream = open_stream(cut_off(store(tmp_path / "a.flac", 25.0), 0.8))
    found: list[StreamPiece] = []
    with pytest.raises(RecordingError, match=r"a\.flac: (damaged|cannot be decoded)"):
        found.extend(stream.pieces())
    assert len(found) >= 10
    assert not found[-1].segment.last
