"""Output folders with made-up results, for tests of run reports: as many as wanted, in no time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from exdiff_cli.manifest import Manifest, Row, State
from exdiff_cli.report.sidecar import (
    AudioFile,
    DnsmosMeasures,
    GuardMark,
    Measures,
    QualityReport,
    sidecar_path,
    to_json,
)

NOTICE = "enhanced sound is partly generated: it is no evidence of what was said; the original is"


def measures(ovrl: float | None, **changes: Any) -> Measures:
    dnsmos = None if ovrl is None else DnsmosMeasures(sig=ovrl + 0.4, bak=ovrl + 0.2, ovrl=ovrl)
    fields: dict[str, Any] = {
        "dnsmos": dnsmos,
        "loudness_lufs": -23.4,
        "noise_floor_dbfs": -48.2,
        "peak_dbfs": -1.5,
        "clipped_share": 0.0,
    }
    return Measures(**fields | changes)


def audio(path: Path, seconds: float = 60.0, **changes: Any) -> AudioFile:
    fields: dict[str, Any] = {
        "path": str(path),
        "sha256": sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest(),
        "bytes": int(16_000 * seconds) + 44,
        "sample_rate": 8_000,
        "channels": 1,
        "frames": int(8_000 * seconds),
        "container": "WAV",
        "subtype": "PCM_16",
        "duration_s": seconds,
    }
    return AudioFile(**fields | changes)


def report_of(source: Path, target: Path, before: float | None, after: float | None, **changes: Any) -> QualityReport:
    seconds = changes.pop("duration", 60.0)
    fields: dict[str, Any] = {
        "tool_version": "0.1.0",
        "input": audio(source, seconds),
        "output": audio(target, seconds),
        "before": measures(before),
        "after": measures(after, noise_floor_dbfs=-70.1),
        "changes": (),
        "settings": {"bundle": "tiny", "sampler": {"steps": 2, "strength": 1.0}, "on_risk": "fallback"},
        "settings_key": "5f2c",
        "weights_sha256": "c" * 64,
        "seed": 0,
        "seconds": {"extract": 1.0, "diffuse": 2.0, "score": 0.5},
        "real_time_factor": 3.5 / seconds,
        "notes": (NOTICE,),
    }
    return QualityReport(**fields | changes)


def row_of(relative: Path, source: Path, state: State = State.DONE, **changes: Any) -> Row:
    fields: dict[str, Any] = dict.fromkeys(("size", "mtime_ns", "sha256", "output_size", "output_sha256"))
    fields |= {"settings_key": "5f2c", "weights_sha256": "c" * 64, "attempts": 1, "error": None}
    fields |= {"output": relative if state is State.DONE else None}
    return Row(relative=relative, source=source, state=state, **fields | changes)


class OutputFolder:
    """An output folder below ``root`` and a folder of originals beside it, of which none has to be there."""

    def __init__(self, root: Path, name: str = "out", part: str = "") -> None:
        self.path, self.originals, self.part = root / name, root / "calls", part
        self.path.mkdir(parents=True, exist_ok=True)

    def add(self, rows: Sequence[Row]) -> None:
        with Manifest.open(self.path, self.part) as manifest:
            manifest.restore(rows)

    def done(self, name: str, before: float | None = 2.0, after: float | None = 2.5, **changes: Any) -> Path:
        """A result by its report; returns where the report lies."""
        relative, source = Path(name), self.originals / name
        report = report_of(source, self.path / relative, before, after, **changes)
        sidecar = sidecar_path(self.path / relative)
        sidecar.parent.mkdir(parents=True, exist_ok=True)
        sidecar.write_text(to_json(report), encoding="utf-8")
        self.add([row_of(relative, source)])
        return sidecar

    def failed(self, name: str, error: str = "it is damaged; copy it again") -> None:
        self.add([row_of(Path(name), self.originals / name, State.FAILED, error=error)])

    def waiting(self, name: str) -> None:
        self.add([row_of(Path(name), self.originals / name, State.PENDING)])

    def fill(self, count: int, failed: int = 0) -> None:
        """Plausible results of ``count`` recordings, some marked by the guard, and so many failures."""
        random = np.random.default_rng(0)
        names = [f"site {place % 7}/2026-11/call-{place:05d}.wav" for place in range(count)]
        template = json.loads(to_json(report_of(Path("a"), Path("b"), 2.0, 2.5)))
        rows = []
        for place, name in enumerate(names):
            relative, source, seconds = Path(name), self.originals / name, float(random.gamma(3, 40) + 1)
            sides = self._sides(template, random, seconds, place)
            for side, path in (("input", source), ("output", self.path / name)):
                sides[side] |= {"path": str(path), "sha256": sha256(f"{side}{name}".encode()).hexdigest()}
            sidecar = sidecar_path(self.path / relative)
            sidecar.parent.mkdir(parents=True, exist_ok=True)
            sidecar.write_text(json.dumps(sides, indent=2) + "\n")
            rows.append(row_of(relative, source))
        lost = [f"site 8/call-{place}.amr" for place in range(failed)]
        error = "is empty (zero bytes); record or copy it again"
        rows += [row_of(Path(name), self.originals / name, State.FAILED, error=f"{name}: {error}") for name in lost]
        self.add(rows)

    @staticmethod
    def _sides(template: dict[str, Any], random: np.random.Generator, seconds: float, place: int) -> dict[str, Any]:
        before = float(np.clip(random.normal(2.2, 0.4), 1, 4))
        after = float(np.clip(before + random.normal(0.45, 0.25), 1, 4.2))
        scores = [{"sig": score + 0.4, "bak": score + 0.6, "ovrl": score} for score in (before, after)]
        marks = [GuardMark(start_s=1, end_s=2.5, channels=(0,), reason="louder than the recording", decibels=8.2)]
        return {
            **template,
            "input": {**template["input"], "duration_s": seconds, "frames": int(8000 * seconds)},
            "output": {**template["output"], "duration_s": seconds, "frames": int(8000 * seconds)},
            "before": {**template["before"], "dnsmos": scores[0], "noise_floor_dbfs": -40 - 10 * random.random()},
            "after": {**template["after"], "dnsmos": scores[1], "noise_floor_dbfs": -70 - 10 * random.random()},
            "guard": [mark.model_dump(mode="json") for mark in marks] if place % 40 == 0 else [],
            "changes": ["12 samples turned down, as no peak may exceed full scale"] if place % 9 == 0 else [],
        }
