"""What weights may be chosen by: models of hearing, where the loss no longer tells which weights sound better."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from exdiff_cli.measures import Floats
from exdiff_cli.measures.dnsmos import Dnsmos, fill_window, mean_score
from exdiff_cli.measures.reference import pesq_wb

HEARD_MIXTURES = 80
"""How many mixtures of the validation set are listened to, two rounds of its scenes: a minute of one core."""


def heard_measures(waveforms: Tensor, speech: Tensor) -> dict[str, float]:
    """Mean PESQ-WB and DNSMOS OVRL of ``(batch, samples)`` at 16 kHz, and ``score``, their sum.

    Both are opinions from about 1 to 5: one of how near to the clean speech, one of how it sounds by itself.
    Mixtures that PESQ finds no speech in count for OVRL alone. Raises :class:`UsageError` without ``pesq``.
    """
    pairs = list(zip(_rows(waveforms), _rows(speech), strict=True))[:HEARD_MIXTURES]
    found = [pesq_wb(estimate, clean) for estimate, clean in pairs]
    distances = [score for score in found if score is not None]
    opinion = mean_score(Dnsmos().score(fill_window(estimate) for estimate, _ in pairs))
    pesq, ovrl = float(np.mean(distances)) if distances else 1.0, opinion.ovrl if opinion else 1.0
    return {"pesq": pesq, "ovrl": ovrl, "score": pesq + ovrl}


def _rows(signals: Tensor) -> Iterable[Floats]:
    return signals.float().cpu().numpy()
