"""The quality report beside each output, ``<file>.quality.json``: what went in, what came out, and how.

Version 2 of its schema is the models below. Any change of a field's name or meaning is a new version; what version 1
lacks is ``null`` or empty where one is read. ``docs/quality-report.schema.json`` is the same as JSON Schema.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
)

from exdiff_cli.errors import RecordingError

SCHEMA_VERSION: Final = 2

_REMEDY = "enhance its recording again"


def _printable(value: Any) -> Any:
    """Spell out the bytes of a file name that is not UTF-8: Python's surrogates for them are not JSON."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _ordered(value: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(value, sort_keys=True, allow_nan=False))


Text = Annotated[str, BeforeValidator(_printable)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AudioFile(_Model):
    """One audio file as it lies on disk; ``frames`` counts samples a channel, as libsndfile does."""

    path: Text
    sha256: Sha256
    bytes: NonNegativeInt
    sample_rate: PositiveInt
    channels: PositiveInt
    frames: NonNegativeInt
    container: str
    subtype: str
    duration_s: NonNegativeFloat


class DnsmosMeasures(_Model):
    """DNSMOS P.835 mean opinion scores, averaged over the windows that were scored."""

    sig: float
    bak: float
    ovrl: float


class Measures(_Model):
    """Quality of one file; ``null`` where a measure is not defined, as loudness is not for silence.

    ``snr_db`` and ``speech_share`` are of at most twelve windows of nine seconds, and ``dnsmos`` is of one of these
    for each two and a half minutes, at least one. Where its speech did not suffer it is of none of a recording that is
    shorter than two seconds, or that others stand for by ``--ratings sampled``. They are the same windows before and
    after, without a gain that ``--loudness`` asked for, and of the mean of the channels, or the loudest one where those
    of the original cancel each other; all other measures are of the whole file. ``snr_db`` is estimated: speech against
    what is heard between.
    """

    dnsmos: DnsmosMeasures | None
    loudness_lufs: float | None
    noise_floor_dbfs: float
    peak_dbfs: float
    clipped_share: float
    true_peak_dbfs: float | None = None
    bandwidth_hz: float | None = None
    snr_db: float | None = None
    speech_share: float | None = None


class TakenFrom(StrEnum):
    """What a result is made of: the sampler's output, Extract's estimate alone, or the recording itself."""

    DIFFUSE = "diffuse"
    EXTRACT = "extract"
    ORIGINAL = "original"


class GuardMark(_Model):
    """A stretch in which the sampler was not trusted; channels count from 0, ``decibels`` are those at its worst."""

    start_s: NonNegativeFloat
    end_s: NonNegativeFloat
    channels: tuple[NonNegativeInt, ...]
    reason: str
    decibels: float


class QualityReport(_Model):
    """One ``.quality.json``.

    ``guard`` says where the sampler was not trusted; what was done there is the setting ``on_risk``. ``uncertainty_db``
    is how far draws of the sampler are apart in speech, where there were several. ``taken_from`` says what the whole
    result is made of, and ``flags`` why somebody should listen to it. ``changes`` says in words what differs in format
    between input and output; ``seconds`` is wall time by stage; ``real_time_factor`` is seconds of work a second of
    audio.
    """

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    tool_version: str
    input: AudioFile
    output: AudioFile
    before: Measures
    after: Measures
    changes: tuple[Text, ...]
    guard: tuple[GuardMark, ...] = ()
    uncertainty_db: NonNegativeFloat | None = None
    taken_from: TakenFrom | None = None
    flags: tuple[Text, ...] = ()
    settings: Annotated[dict[str, JsonValue], AfterValidator(_ordered)]
    settings_key: str
    weights_sha256: Sha256
    seed: int
    seconds: Annotated[dict[str, NonNegativeFloat], AfterValidator(_ordered)]
    real_time_factor: NonNegativeFloat
    notes: tuple[Text, ...] = ()

    @property
    def gain(self) -> float | None:
        """By how much DNSMOS rates the result above the recording, overall; None where one of them has no rating."""
        if self.before.dnsmos is None or self.after.dnsmos is None:
            return None
        return self.after.dnsmos.ovrl - self.before.dnsmos.ovrl

    @property
    def is_converted(self) -> bool:
        """Whether the result is not stored as its original is."""
        return _stored_as(self.input) != _stored_as(self.output)


def _stored_as(file: AudioFile) -> tuple[str, str, int]:
    return file.container, file.subtype, file.sample_rate


SUFFIX: Final = ".quality.json"


def sidecar_path(audio: Path) -> Path:
    """Where the report of an output lies: beside it, under its whole name."""
    return audio.with_name(audio.name + SUFFIX)


def to_json(report: QualityReport) -> str:
    """The report as indented JSON with a final newline; equal reports give equal text."""
    return report.model_dump_json(indent=2) + "\n"


def published_schema() -> str:
    """JSON Schema of the reports, as it lies in ``docs``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **QualityReport.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def read_sidecar(path: Path) -> QualityReport:
    """Read a report; raises :class:`RecordingError` where it is missing, damaged or of a newer version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordingError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
    except ValueError as error:
        raise RecordingError(path, f"is not JSON ({error})", _REMEDY) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        problem = f"has schema version {version}, and this exdiff reads up to {SCHEMA_VERSION}"
        raise RecordingError(path, problem, "update exdiff")
    try:
        return QualityReport.model_validate(content)
    except ValidationError as error:
        raise RecordingError(path, f"is not a quality report ({_first_fault(error)})", _REMEDY) from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'content'}: {fault['msg']}"
