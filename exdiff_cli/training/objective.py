"""What the models learn, and what their weights are chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Objective:
    """What is learnt, a spectral error, and what weights are chosen by.

    The error is one of amplitudes to the power of ``exponent``. A squared error settles on what is expected, which lies
    the further below the true loudness the lower the exponent is: at 0.3 speech goes with the noise. ``by_pitch`` of
    its weight, 0 to 1, lies on the bins as the ear resolves them, the rest on all alike. ``relative`` takes the
    logarithm of each mixture's error: to halve it is worth as much where little is left as where speech drowns.
    ``missing`` is the weight of a magnitude that falls short against one that is too loud: above one, speech that is
    not sure to be noise stays. ``loudness`` is the weight of the error of loudness in bands of hearing, beside that of
    single bins: an average over what may be is too quiet in every bin, and with it the faint sounds of speech.
    ``disturbance`` is the weight of what a listener who knows the target minds: :mod:`exdiff_cli.training.disturbance`.

    Weights are chosen by the same error and SI-SDR, or, ``by_ear``, by models of hearing:
    :mod:`exdiff_cli.training.hearing`.
    """

    exponent: float = 0.5
    by_pitch: float = 0.5
    relative: bool = False
    missing: float = 1.0
    loudness: float = 0.0
    disturbance: float = 0.0
    by_ear: bool = False


def recorded_objective(about: Mapping[str, Any]) -> Objective:
    """What weights learnt, by their metadata ``about`` them; what these do not hold is as by default."""
    held = about.get("objective", {})
    return Objective(**{part.name: held[part.name] for part in fields(Objective) if part.name in held})
