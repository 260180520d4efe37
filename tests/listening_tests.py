"""Output folders of results that were made without models, and listening tests of them."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from recordings import DATA, talk

from exdiff_cli.audio.io import file_sha256, probe
from exdiff_cli.audio.recording import Samples
from exdiff_cli.listening.key import Key, KeyTrial, Kind, write_key
from exdiff_cli.manifest import Manifest, fingerprint

LENGTHS = {"calls/0.wav": 5.0, "calls/1.wav": 9.0, "street/<b> & 'c'.wav": 4.0}


def write(path: Path, samples: Samples, rate: int = 16_000, subtype: str = "PCM_24") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.wav")
    soundfile.write(plain, samples.T, rate, subtype, format=path.suffix[1:])
    return plain.rename(path)


def enhanced(source: Path, gain: float, clean_share: float) -> Samples:
    """Something else than the original, and louder or fainter: a trained model is not needed to tell them apart."""
    clean, noisy = (soundfile.read(DATA / f"{name}.wav", dtype="float32")[0] for name in ("clean", "noisy"))
    frames = probe(source).frames
    mixed: Samples = np.resize(clean_share * clean + (1 - clean_share) * noisy, frames)[None]
    return mixed * np.float32(gain)


def output_folder(
    root: Path, name: str = "out", lengths: dict[str, float] = LENGTHS, gain: float = 0.4, clean_share: float = 0.75
) -> Path:
    """``root/name`` with results of the recordings in ``root/in``, which are made where they are not there."""
    with Manifest.open(root / name) as manifest:
        for relative, seconds in lengths.items():
            source, result = root / "in" / relative, root / name / relative
            if not source.exists():
                write(source, talk(seconds), subtype="PCM_16")
            write(result, enhanced(source, gain, clean_share))
            manifest.start(Path(relative), source, fingerprint(source), settings_key="k", weights_sha256="w")
            size, sha256 = result.stat().st_size, file_sha256(result)
            manifest.finish(Path(relative), output=Path(relative), output_size=size, output_sha256=sha256, timings={})
    return root / name


def embedded(page: str) -> dict[str, Any]:
    """What the page's script is given."""
    (found,) = re.findall(r'<script type="application/json" id="test">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def clip_bytes(uri: str) -> bytes:
    kind, content = uri.split(",")
    assert kind == "data:audio/ogg;base64"
    return b64decode(content)


def decoded(uri: str) -> Samples:
    """``(channels, frames)`` of a clip."""
    samples, rate = soundfile.read(io.BytesIO(clip_bytes(uri)), dtype="float32", always_2d=True)
    assert rate == 48_000
    return samples.T


def a_key(folder: Path, orders: list[tuple[str, ...]], kind: Kind = Kind.PREFERENCE) -> Key:
    """A test of so many trials, two a recording, whose key lies in ``folder``."""
    trials = [
        KeyTrial(trial=str(number), recording=f"{number // 2}.wav", start_s=0, seconds=2, order=order)
        for number, order in enumerate(orders)
    ]
    systems = ("enhanced", "original") if kind is Kind.PREFERENCE else tuple(sorted(orders[0]))
    key = Key(kind=kind, test="f00d", seed=0, systems=systems, trials=tuple(trials))
    write_key(folder / "page.html.key.json", key)
    return key


def a_result(path: Path, given: list[Any], listener: str = "anna", **changes: object) -> Path:
    """What the page saves: answers a, b, none, or lists of ratings."""
    kind = Kind.MUSHRA if isinstance(given[0], list) else Kind.PREFERENCE
    name = "ratings" if kind is Kind.MUSHRA else "answer"
    answers = [{"trial": str(number), name: each, "comment": ""} for number, each in enumerate(given)]
    about = {"message_type": "listening_result", "version": 1, "kind": kind, "test": "f00d", "listener": listener}
    path.write_text(json.dumps({**about, "answers": answers, **changes}))
    return path
