"""Where in a segment somebody speaks, so that the sampler need not run where nobody does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import FRAME_SAMPLES

SPEECH_THRESHOLD = 0.15
"""Frames less likely to be speech are skipped: well below the detector's usual 0.5, as a missed word costs more."""

MARGIN = 8_000
"""Samples on either side of speech, for its onsets and ends; the sampler's part fades in and out within."""

FADE_FRAMES = 16
GRID = 256
"""Samples that a stretch begins at a multiple of: the longest hop of a transform."""


class Stretch(NamedTuple):
    """First sample and the one past the last."""

    first: int
    past: int

    def frames(self, hop: int) -> slice:
        """The frames of a transform that it takes to compute it."""
        return slice(self.first // hop, -(-self.past // hop) + 1)


def spoken_stretch(probabilities: Floats, length: int, step: int, shortest: int) -> Stretch | None:
    """From the first word to the last, with room around them; None where nobody speaks.

    ``probabilities`` are those of the detector's frames. It takes whole steps of samples, no fewer than ``shortest``,
    and no more than the ``length`` that there is.
    """
    spoken = np.flatnonzero(probabilities >= SPEECH_THRESHOLD) * FRAME_SAMPLES
    if not len(spoken):
        return None
    first = max(int(spoken[0]) - MARGIN, 0) // GRID * GRID
    needed = min(int(spoken[-1]) + FRAME_SAMPLES + MARGIN, length) - first
    size = min(max(-(-needed // step) * step, shortest), length)
    first = min(first, length - size)
    return Stretch(first, first + size)


def fade(part: slice, frames: int) -> Tensor:
    """Weight of the sampler's part in each of its frames: it rises and falls where the segment goes on.

    ``frames`` is their number in the whole segment.
    """
    count = part.stop - part.start
    rise = ((torch.arange(count) + 1) / FADE_FRAMES).clamp_max(1.0)
    weight = rise if part.start > 0 else torch.ones(count)
    return torch.minimum(weight, rise.flip(0)) if part.stop < frames else weight
