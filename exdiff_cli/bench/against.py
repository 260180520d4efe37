"""A run beside a stored one: what `exdiff bench --json` printed earlier, maybe elsewhere."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exdiff_cli.errors import UsageError

log = logging.getLogger(__name__)

COMPARED = ("real_time_factor", "cpu_seconds", "peak_memory_mib", "peak_device_memory_mib")

SAME = {
    "machine": ("processor", "cores", "memory_mib", "system", "torch", "device_name"),
    "audio": ("audio_seconds", "files", "failed", "archive", "rate", "channels", "speech_share"),
    "settings": (
        "bundle",
        "weights_sha256",
        "device",
        "threads",
        "workers",
        "batch",
        "precision",
        "steps",
        "cuda_graphs",
    ),
}
"""What has to be the same for the ratios to be the code's alone."""


def read_stored(path: Path) -> dict[str, Any]:
    """The figures of an earlier run; :class:`UsageError` where the file holds none."""
    remedy = "give the output of exdiff bench --json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--against {path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError):
        raise UsageError(f"--against {path}: is not one object of JSON; {remedy}") from None
    if not isinstance(stored, dict) or stored.get("message_type") != "bench" or not _is_whole(stored):
        raise UsageError(f"--against {path}: is not the result of a benchmark; {remedy}")
    return stored


def _is_whole(stored: Mapping[str, Any]) -> bool:
    stages = stored.get("by_stage")
    return (
        _is_amount(stored.get("real_time_factor"))
        and isinstance(stages, dict)
        and bool(stages)
        and all(seconds == 0 or _is_amount(seconds) for seconds in stages.values())
    )


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def compare(figures: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, object]:
    """Ratios of this run to the stored one, below 1 where this one is better; what only one of them has is left out.

    Warns where the machine, the audio or the settings were others, and says so under ``differs``.
    """
    differs = [line for part in SAME for line in _differences(part, figures, stored)]
    for line in differs:
        log.warning("--against: %s", line)
    machine = stored.get("machine")
    return {
        "exdiff": machine.get("exdiff") if isinstance(machine, dict) else None,
        **_ratios({name: figures.get(name) for name in COMPARED}, stored),
        "by_stage": _ratios(figures["by_stage"], stored["by_stage"]),
        "differs": differs,
    }


def _ratios(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: round(value / then[name], 3)
        for name, value in now.items()
        if _is_amount(value) and _is_amount(then.get(name))
    }


def _differences(part: str, figures: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """In words, what of a part is not as it was; what the stored run does not tell is a difference too."""
    now, then = (each.get("machine") if part == "machine" else each for each in (figures, stored))
    if not isinstance(now, dict) or not isinstance(then, dict):
        return [f"{part}: the stored run does not tell its own"] if now != then else []
    return [
        f"{part}: {name.replace('_', ' ')} is {now.get(name)}, and was {then.get(name, 'not told')} in the stored run"
        for name in SAME[part]
        if now.get(name) != then.get(name)
    ]
