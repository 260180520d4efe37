"""Recordings of every format, and what becomes of them when their bytes are changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import soundfile
from recordings import encode, talk

from exdiff_cli.audio import sndfile
from exdiff_cli.audio.io import AUDIO_SUFFIXES

FFMPEG = [
    ("m4a", "ipod", "aac", 16_000),
    ("mp4", "mp4", "alac", 16_000),
    ("mov", "mov", "pcm_s16le", 16_000),
    ("3gp", "3gp", "libopencore_amrnb", 8_000),
    ("webm", "webm", "libopus", 48_000),
    ("mka", "matroska", "flac", 16_000),
    ("mkv", "matroska", "libmp3lame", 16_000),
    ("amr", "amr", "libopencore_amrnb", 8_000),
    ("aac", "adts", "aac", 16_000),
    ("wma", "asf", "wmav2", 16_000),
]
EXTREMES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
OTHERS = {"WAV": ("GSM610", "IMA_ADPCM", "MS_ADPCM"), "VOC": ("PCM_16",), "PAF": ("PCM_16",), "W64": ("IMA_ADPCM",)}


def make_every_format(folder: Path) -> list[Path]:
    """A short stereo recording in each format that is read; mono where the codec has no more."""
    folder.mkdir(parents=True)
    made = []
    known = {container: tuple(sorted(kept)) for container, kept in sndfile.KEPT.items()}
    for container, subtypes in [*known.items(), *OTHERS.items()]:
        for subtype in subtypes:
            suffix = f".{container.lower()}"
            suffix = suffix if suffix in AUDIO_SUFFIXES else ".wav"  # by its content it is known anyway
            path = folder / f"{container.lower()}-{subtype.lower()}{suffix}"
            channels = 1 if subtype == "GSM610" else 2
            soundfile.write(path, talk(0.2, 8_000, channels).T, 8_000, subtype, format=container)
            made.append(path)
    for suffix, muxer, codec, rate in FFMPEG:
        layout, channels = ("mono", 1) if "amr" in codec else ("stereo", 2)
        made.append(encode(folder / f"{codec}.{suffix}", muxer, codec, rate, layout, talk(0.2, rate, channels)))
    return made


def flip_bits(content: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 2, 8, 64))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def set_extremes(content: bytearray, draw: random.Random) -> bytearray:
    """In the head, where sizes, counts and rates are."""
    for _ in range(draw.choice((1, 2, 4))):
        place, count = draw.randrange(min(len(content), 256)), draw.choice((1, 2, 4, 8))
        content[place : place + count] = bytes([draw.choice(EXTREMES)]) * len(content[place : place + count])
    return content


def cut(content: bytearray, draw: random.Random) -> bytearray:
    return content[: draw.randrange(1, len(content))]


def drop(content: bytearray, draw: random.Random) -> bytearray:
    place = draw.randrange(len(content))
    del content[place : place + draw.randrange(1, 200)]
    return content or bytearray(1)


def repeat(content: bytearray, draw: random.Random) -> bytearray:
    place = draw.randrange(len(content))
    return content[:place] + content[place : place + 300] * draw.randrange(2, 5) + content[place:]


def scramble(content: bytearray, draw: random.Random) -> bytearray:
    place = draw.randrange(len(content))
    content[place : place + 100] = draw.randbytes(len(content[place : place + 100]))
    return content


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    flip_bits,
    set_extremes,
    set_extremes,
    cut,
    drop,
    repeat,
    scramble,
)


def mutate(source: Path, target: Path, draw: random.Random) -> None:
    """Write to ``target`` what one or two changes make of ``source``."""
    content = bytearray(source.read_bytes())
    for _ in range(draw.choice((1, 1, 2))):
        content = draw.choice(MUTATIONS)(content, draw)
    target.write_bytes(content)
