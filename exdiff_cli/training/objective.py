"""What the models learn, and what their weights are chosen by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """What is learnt, a spectral error at an amplitude ``exponent``, and what weights are chosen by.

    That is the same error and SI-SDR, or, ``by_ear``, models of hearing: :mod:`exdiff_cli.training.hearing`.
    """

    exponent: float
    by_ear: bool = False


EXTRACTION = Objective(exponent=0.3)
"""Nearer to loudness than to amplitude: faint noise counts, so Extract takes it all out, and faint speech with it."""

RESTORATION = Objective(exponent=0.5)
"""Diffuse's. The mean that a squared error leads to lies less far below the true loudness than at a lower exponent,
so that Diffuse brings back speech that Extract suppressed."""
