"""The quality report's contract: what it holds, how it is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exdiff_cli.errors import ExitCode, RecordingError
from exdiff_cli.report.sidecar import (
    AudioFile,
    DnsmosMeasures,
    Measures,
    QualityReport,
    published_schema,
    read_sidecar,
    sidecar_path,
    to_json,
)

SCHEMA = Path(__file__).parents[1] / "docs" / "quality-report.schema.json"


def audio_file(**changes: Any) -> AudioFile:
    fields: dict[str, Any] = {
        "path": "calls/monday.wav",
        "sha256": "a" * 64,
        "bytes": 96_044,
        "sample_rate": 16_000,
        "channels": 1,
        "frames": 48_000,
        "container": "WAV",
        "subtype": "PCM_16",
        "duration_s": 3.0,
    }
    return AudioFile(**fields | changes)


def measures(**changes: Any) -> Measures:
    fields: dict[str, Any] = {
        "dnsmos": DnsmosMeasures(sig=3.1, bak=2.5, ovrl=2.4),
        "loudness_lufs": -23.0,
        "noise_floor_dbfs": -48.2,
        "peak_dbfs": -1.5,
        "clipped_share": 0.0,
    }
    return Measures(**fields | changes)


def report(**changes: Any) -> QualityReport:
    fields: dict[str, Any] = {
        "tool_version": "0.1.0",
        "input": audio_file(),
        "output": audio_file(sha256="b" * 64),
        "before": measures(),
        "after": measures(dnsmos=None, loudness_lufs=None),
        "changes": ["written as WAV: the G.723 encoder is not available"],
        "settings": {"steps": 4, "guard": {"strength": 1.0, "on_risk": "fallback"}},
        "settings_key": "5f2c",
        "weights_sha256": "c" * 64,
        "seed": 7,
        "seconds": {"extract": 0.1, "decode": 0.02},
        "real_time_factor": 0.05,
    }
    return QualityReport(**fields | changes)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "monday.wav.quality.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_report_survives_writing_and_reading(tmp_path: Path) -> None:
    original = report(notes=["segment 3 kept as it was"])
    assert read_sidecar(written(tmp_path, to_json(original))) == original


def test_the_text_is_indented_json_that_starts_with_the_version() -> None:
    text = to_json(report())
    assert text.startswith('{\n  "schema_version": 2,\n')
    assert text.endswith("}\n")
    content = json.loads(text)
    assert content["after"]["dnsmos"] is None
    assert content["changes"] == ["written as WAV: the G.723 encoder is not available"]
    assert content["notes"] == []


def test_equal_reports_give_equal_text_whatever_the_order_of_their_dictionaries() -> None:
    forward = report(settings={"a": {"x": 1, "y": 2}, "b": 2}, seconds={"decode": 1.0, "extract": 2.0})
    backward = report(settings={"b": 2, "a": {"y": 2, "x": 1}}, seconds={"extract": 2.0, "decode": 1.0})
    assert to_json(forward) == to_json(backward)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        measures(loudness_lufs=value)
    with pytest.raises(ValidationError):
        report(real_time_factor=value)
    with pytest.raises(ValidationError):
        report(seconds={"extract": value})
    with pytest.raises(ValidationError):
        report(settings={"guard": {"strength": value}})


def test_reports_are_frozen_and_know_their_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        report().__setattr__("seed", 8)
    with pytest.raises(ValidationError, match="sead"):
        report(sead=8)
    with pytest.raises(ValidationError, match="sha256"):
        audio_file(sha256="unknown")


def test_file_names_that_are_not_utf8_can_be_written(tmp_path: Path) -> None:
    name = b"caf\xe9 \xc3\xbc.wav".decode("utf-8", "surrogateescape")
    path = written(tmp_path, to_json(report(input=audio_file(path=name), notes=[name])))
    assert read_sidecar(path).input.path == "caf\\xe9 ü.wav"


def test_the_sidecar_lies_beside_the_audio_under_its_whole_name() -> None:
    assert sidecar_path(Path("out/a.b/call.flac")) == Path("out/a.b/call.flac.quality.json")


def refusal(path: Path) -> str:
    with pytest.raises(RecordingError) as failure:
        read_sidecar(path)
    message = str(failure.value)
    assert "\n" not in message
    assert str(path) in message
    assert failure.value.exit_code == ExitCode.SOME_FAILED
    return message


def test_a_newer_schema_is_refused_whatever_else_it_holds(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, '{"schema_version": 3, "pages": []}'))
    assert "schema version 3" in message
    assert "update exdiff" in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ('{"schema_version": 1', "not JSON"),
        ("[]", "not a quality report"),
        ("{}", "not a quality report"),
        ('{"schema_version": "1"}', "schema_version"),
        ('{"schema_version": 0}', "schema_version"),
    ],
)
def test_damaged_reports_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in refusal(written(tmp_path, text))


def test_missing_and_binary_reports_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.quality.json")
    binary = tmp_path / "binary.quality.json"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not JSON" in refusal(binary)


def test_a_report_with_a_missing_field_names_it(tmp_path: Path) -> None:
    content = json.loads(to_json(report()))
    del content["before"]["peak_dbfs"]
    assert "before.peak_dbfs" in refusal(written(tmp_path, json.dumps(content)))


# --- the published schema -----------------------------------------------------------------------------------


def test_the_published_schema_is_that_of_the_models() -> None:
    """After a change, write it anew with ``published_schema``."""
    assert SCHEMA.read_text(encoding="utf-8") == published_schema()


def test_older_reports_can_be_read(tmp_path: Path) -> None:
    content = report().model_dump(mode="json")
    for name in ("uncertainty_db", "taken_from", "flags"):
        del content[name]
    for side in ("before", "after"):
        for name in ("true_peak_dbfs", "bandwidth_hz", "snr_db", "speech_share"):
            del content[side][name]
    found = read_sidecar(written(tmp_path, json.dumps({**content, "schema_version": 1})))
    assert (found.schema_version, found.taken_from, found.flags, found.before.snr_db) == (1, None, (), None)


@pytest.mark.parametrize(("before", "after", "gain"), [(2.4, 3.0, 0.6), (None, 3.0, None), (2.4, None, None)])
def test_gain_is_of_both_ratings(before: float | None, after: float | None, gain: float | None) -> None:
    sides = [
        measures(dnsmos=None if overall is None else DnsmosMeasures(sig=3, bak=3, ovrl=overall))
        for overall in (before, after)
    ]
    found = report(before=sides[0], after=sides[1]).gain
    assert found == (None if gain is None else pytest.approx(gain))
