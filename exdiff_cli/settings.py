"""What a run was asked for, frozen; and the key under which its results stay valid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from exdiff_cli.errors import UsageError
from exdiff_cli.storage import Storage

if TYPE_CHECKING:  # no command has to load torch to know its defaults
    from exdiff_cli.diffuse.generate import SamplerConfig

SPEECH = "speech"
DEFAULT_BUNDLE = "exdiff-speech-16k"

PRESET_STEPS: dict[str, int | None] = {"fast": 1, "balanced": None, "best": 4}
"""Diffusion steps by preset, None for the bundle's own; README.md has the scores of each."""

LOUDNESS = (-50.0, -5.0)
"""What may be asked for, in LUFS."""

MOST_DRAWS = 16


class OnRisk(StrEnum):
    """What is done where a sample is not trusted.

    It fades to Extract's estimate there, or to the recording; it stays and is only reported; or the recording fails.
    """

    FALLBACK = "fallback"
    KEEP_ORIGINAL = "keep-original"
    FLAG = "flag"
    FAIL = "fail"


class Precision(StrEnum):
    """The numbers that the networks compute in, spectra and sampler apart."""

    FLOAT32 = "float32"
    BFLOAT16 = "bf16"
    INT8 = "int8"


class Ratings(StrEnum):
    """Which recordings DNSMOS rates: all that are long enough, or of short ones as few as stand for the others.

    Either way it rates those that the guard or a fall of the speech makes suspect.
    """

    ALL = "all"
    SAMPLED = "sampled"


RESULT_VERSION = 7
"""Raised whenever the code changes what comes out for the same file, settings and weights."""


@dataclass(frozen=True)
class Settings:
    """Everything that changes the samples of a result.

    ``sampler`` holds the steps, 0 for Extract alone. ``segment`` and ``overlap`` are samples at the model's rate. With
    ``use_latents`` off, Diffuse attends to its null token instead. ``query`` names what Extract takes out of the
    mixture; Diffuse knows only how speech sounds. With ``skip_silence`` it samples only where somebody speaks.
    ``on_risk`` says what is done where the guard does not trust the sampler, which it also knows by how far ``draws``
    samples are apart. ``strength`` is the share of the result in the mix with its recording. ``loudness`` in LUFS is
    what the result is brought to, None for what comes of it; ``extend_band`` makes up what a recording of a low rate
    lacks; ``storage`` is how it is stored, which may be lossy. ``precision`` is the networks'. ``ratings`` says which
    results may be found harmful by DNSMOS.
    """

    sampler: SamplerConfig
    segment: int = 129_024
    overlap: int = 16_384
    seed: int = 0
    use_latents: bool = True
    query: str = SPEECH
    skip_silence: bool = True
    on_risk: OnRisk = OnRisk.FALLBACK
    draws: int = 1
    strength: float = 1.0
    loudness: float | None = None
    extend_band: bool = False
    storage: Storage = field(default_factory=Storage)
    precision: Precision = Precision.FLOAT32
    ratings: Ratings = Ratings.ALL

    def __post_init__(self) -> None:
        if self.sampler.steps < 0:
            raise UsageError(f"--steps {self.sampler.steps}: give 0 (Extract alone) or more")
        if not 0 < self.sampler.start <= 1:
            raise UsageError(f"--start {self.sampler.start}: give a time above 0 and up to 1")
        if not 0 <= self.sampler.strength <= 1:
            raise UsageError(f"--sampler-strength {self.sampler.strength}: give a share from 0 to 1")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength {self.strength:g}: give a share from 0 to 1")
        if not 1 <= self.draws <= MOST_DRAWS:
            raise UsageError(f"--draws {self.draws}: give 1 to {MOST_DRAWS}")
        if self.loudness is not None and not LOUDNESS[0] <= self.loudness <= LOUDNESS[1]:
            raise UsageError(f"--loudness {self.loudness:g}: give {LOUDNESS[0]:g} to {LOUDNESS[1]:g} LUFS")
        if self.sampler.steps and self.query != SPEECH:
            raise UsageError(f"--query {self.query} with --steps {self.sampler.steps}: Diffuse restores speech only")

    @property
    def is_generative(self) -> bool:
        """Whether anything of a result may be made up; Extract alone only takes away."""
        return self.sampler.steps > 0 or self.extend_band

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The settings of which :meth:`as_dict` gave ``values``; TypeError where these are of another version."""
        from exdiff_cli.diffuse.generate import SamplerConfig

        parts = {"sampler": SamplerConfig(**values["sampler"]), "storage": Storage(**values.get("storage", {}))}
        names = {
            "on_risk": OnRisk(values.get("on_risk", OnRisk.FALLBACK)),
            "precision": Precision(values.get("precision", Precision.FLOAT32)),
            "ratings": Ratings(values.get("ratings", Ratings.ALL)),
        }
        return cls(**{**values, **parts, **names})

    def cache_key(self) -> str:
        """Short hexadecimal key; any setting that changes a result changes it."""
        return _key_of(self, RESULT_VERSION)


@lru_cache(maxsize=8)
def _key_of(settings: Settings, version: int) -> str:
    described = json.dumps({"version": version, **settings.as_dict()}, sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


GPU_BATCH = 32
"""Segments: beyond, a GPU gains nothing."""

MEASURED = 0
"""A batch of as many segments as the devices turn out to have memory for."""

MOST_AT_A_TIME = 8
"""Recordings that are decoded or published, and segments that are enhanced on a CPU: each takes memory."""


@dataclass(frozen=True)
class Resources:
    """What changes speed and memory but never a result.

    ``device`` may name several, with commas between. ``batch`` is in segments, or :data:`MEASURED`. A CPU gains nothing
    by more than one, takes more memory, and rounds batches of other sizes differently: one at a time, results are equal
    to the bit whatever came before and between. It enhances as many side by side as there are ``workers``, each by one
    thread. So many recordings are decoded at the same time by ``decoders``, and scored and published
    by ``publishers``.
    """

    device: str = "cpu"
    batch: int = 1
    workers: int = 1
    decoders: int = 1
    publishers: int = 1

    @property
    def devices(self) -> list[str]:
        return self.device.split(",")

    def check_precision(self, precision: Precision) -> None:
        """:class:`UsageError` where a device does not compute in it."""
        if precision is Precision.INT8 and self.device != "cpu":
            raise UsageError(f"--precision int8: is for CPUs, not {self.device}; give --device cpu")

    @classmethod
    def on(cls, device: str, batch: int | None, threads: int) -> Resources:
        """Devices and, unless ``batch`` is given, what suits them; ``threads`` are those that torch may use."""
        if device.startswith("cuda"):
            readers = max(1, min(MOST_AT_A_TIME, threads // 2))
            return cls(device, batch or MEASURED, decoders=readers, publishers=readers)
        workers = min(MOST_AT_A_TIME, threads)
        return cls(device, batch or cls.batch, workers=workers, publishers=workers)
