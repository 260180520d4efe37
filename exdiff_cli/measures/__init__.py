"""Measures of recordings, each in a module of its own.

DNSMOS, loudness and levels need no reference; the rest compares an estimate with a clean one. Networks and
intelligibility take mono float audio at 16 kHz. The meters stream: they are fed chunks of any length at any sample
rate, keep no audio beyond a second, and their results do not depend on where it was cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""The rate, in Hertz, of everything that networks and intelligibility measures are given."""

FLOOR_DBFS = -120.0
"""Levels at or below this, digital silence with them, are reported as this."""

Floats = NDArray[np.floating[Any]]
