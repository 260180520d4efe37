"""What no recording is fails in one line, before it costs memory or hours."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from recordings import encode, store, talk

from exdiff_cli.audio import ffmpeg, sndfile
from exdiff_cli.audio.io import probe
from exdiff_cli.audio.limits import MOST_CHANNELS
from exdiff_cli.audio.recording import Samples
from exdiff_cli.errors import RecordingError


def test_too_many_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((10, MOST_CHANNELS + 1)), 16_000)
    with pytest.raises(RecordingError, match="has 65 channels, at most 64"):
        probe(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.zeros((10, MOST_CHANNELS)), 16_000)
    assert probe(tmp_path / "b.wav").channels == MOST_CHANNELS


@pytest.mark.parametrize("rate", [1, 999, 768_001, 0x7FFF_FFFF])
def test_sample_rates_that_are_none(tmp_path: Path, rate: int) -> None:
    path = store(tmp_path / "a.wav")
    content = path.read_bytes()
    path.write_bytes(content[:24] + struct.pack("<I", rate) + content[28:])
    with pytest.raises(RecordingError, match="a second; mend its header"):
        probe(path)


@pytest.mark.parametrize("rate", [1_000, 767_999])
def test_the_least_and_the_highest_rate_are_read(tmp_path: Path, rate: int) -> None:
    assert probe(store(tmp_path / "a.wav", 0.1, rate)).sample_rate == rate


def test_what_lasts_too_long(tmp_path: Path) -> None:
    hour = 1 / 3600
    path = store(tmp_path / "a.wav", 2.0)
    assert probe(path, 2 * hour).seconds == 2.0
    with pytest.raises(RecordingError, match=r"lasts more than the .* hours .* give --max-hours"):
        probe(path, 1.9 * hour)


SILENCE = np.zeros((1, 3600 * 8_000), np.float32)


def test_an_mp3_that_is_a_bomb_is_not_decoded_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a length tag it has to be counted."""
    soundfile.write(tmp_path / "a", SILENCE.T, 8_000, "MPEG_LAYER_III", format="MP3")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content.replace(b"Info", b"Imfo", 1).replace(b"Xing", b"Ximg", 1))
    read, counted = sndfile._Sequential.read, []

    def count(*given: Any, **named: Any) -> Any:
        counted.append(1)
        return read(*given, **named)

    monkeypatch.setattr(sndfile._Sequential, "read", count)
    with pytest.raises(RecordingError, match="lasts more"):
        probe(tmp_path / "a", 1 / 3600)
    assert len(counted) == 1


def test_an_m4a_that_is_a_bomb_is_not_decoded_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a", "ipod", "aac", 8_000, "mono", SILENCE)
    blocks, counted = ffmpeg._Source.blocks, []

    def count(source: ffmpeg._Source) -> Iterator[Samples]:
        for block in blocks(source):
            counted.append(block.shape[1])
            yield block

    monkeypatch.setattr(ffmpeg._Source, "blocks", count)
    with pytest.raises(RecordingError, match="lasts more"):
        probe(tmp_path / "a", 1 / 3600)
    assert sum(counted) < 10_000


def test_one_sample_of_every_kind_is_a_recording(tmp_path: Path) -> None:
    for number, (container, subtype) in enumerate([("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "ULAW")]):
        soundfile.write(tmp_path / f"{number}", talk(1.0)[:, :1].T, 8_000, subtype, format=container)
        assert probe(tmp_path / f"{number}").frames == 1
