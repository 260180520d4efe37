"""All measures of an estimate against its clean reference, in groups that can be chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from exdiff_cli.errors import UsageError
from exdiff_cli.measures import Floats
from exdiff_cli.measures.composite import composite
from exdiff_cli.measures.dnsmos import dnsmos_reference
from exdiff_cli.measures.pauses import pause_levels
from exdiff_cli.measures.phonemes import phoneme_error_rate
from exdiff_cli.measures.reference import estoi, pesq_wb, si_sdr, si_sir_sar
from exdiff_cli.measures.voices import speaker_similarity

log = logging.getLogger(__name__)

Found = dict[str, float | None]


@dataclass(frozen=True)
class Trio:
    """Estimate, clean reference and the noisy mixture, mono ``(samples,)`` at 16 kHz."""

    estimate: Floats
    clean: Floats
    noisy: Floats


def _pesq(trio: Trio) -> Found:
    score = pesq_wb(trio.estimate, trio.clean)
    opinions = None if score is None else composite(trio.estimate, trio.clean, score)
    return {"pesq": score, **(asdict(opinions) if opinions else dict.fromkeys(("csig", "cbak", "covl")))}


def _separation(trio: Trio) -> Found:
    sir, sar = si_sir_sar(trio.estimate, trio.clean, trio.noisy)
    return {"si_sdr": si_sdr(trio.estimate, trio.clean), "si_sir": sir, "si_sar": sar}


def _pauses(trio: Trio) -> Found:
    level, invented = pause_levels(trio.estimate, trio.clean, trio.noisy) or (None, None)
    return {"pause": level, "invented": invented}


def _dnsmos(trio: Trio) -> Found:
    score = dnsmos_reference(trio.estimate)
    return {**asdict(score)} if score else dict.fromkeys(("sig", "bak", "ovrl"))


GROUPS: dict[str, tuple[tuple[str, ...], Callable[[Trio], Found]]] = {
    "pesq": (("pesq", "csig", "cbak", "covl"), _pesq),
    "estoi": (("estoi",), lambda trio: {"estoi": estoi(trio.estimate, trio.clean)}),
    "separation": (("si_sdr", "si_sir", "si_sar"), _separation),
    "pauses": (("pause", "invented"), _pauses),
    "dnsmos": (("sig", "bak", "ovrl"), _dnsmos),
    "voice": (("voice",), lambda trio: {"voice": speaker_similarity(trio.estimate, trio.clean)}),
    "phonemes": (("per",), lambda trio: {"per": phoneme_error_rate(trio.estimate, trio.clean)}),
}
"""Each group's measures and the function that takes them."""


NEEDS = {"pesq": "pesq", "estoi": "pystoi"}
"""Packages of the extra ``eval``, by the groups that are nothing without them."""


def choose_groups(text: str | None) -> tuple[str, ...]:
    """Groups named as ``pesq,dnsmos``, or for None all that can be measured here.

    Raises :class:`UsageError` for one that there is not.
    """
    if text is None:
        missing = [name for name, package in NEEDS.items() if find_spec(package) is None]
        if missing:
            log.warning("not measured: %s; for these, pip install 'exdiff[eval]'", ", ".join(missing))
        return tuple(name for name in GROUPS if name not in missing)
    chosen = tuple(part.strip() for part in text.split(","))
    for name in chosen:
        if name not in GROUPS:
            raise UsageError(f"--measures {text}: there is {', '.join(GROUPS)}")
    return chosen


def measure_names(groups: Iterable[str]) -> list[str]:
    """The measures that the groups hold, in order."""
    return [name for group in groups for name in GROUPS[group][0]]


def measure(trio: Trio, groups: Iterable[str] = tuple(GROUPS)) -> Found:
    """Every measure of the groups; None where one is not defined."""
    return {name: value for group in groups for name, value in GROUPS[group][1](trio).items()}
