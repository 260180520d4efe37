"""Cuts a stream into overlapping segments of one length and joins the processed segments again.

Streams are mono float32 NumPy arrays ``(samples,)``. Segments of many streams may be processed together, as
long as those of one stream come back in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class SegmentPlan:
    """Segments of ``length`` samples, each of which shares ``overlap`` samples with the next."""

    length: int
    overlap: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"a segment needs at least one sample, not {self.length}")
        if not 0 <= self.overlap <= self.length // 2:
            # Beyond half, three segments would share a sample and two fades no longer sum to one.
            raise ValueError(f"overlap must lie between 0 and {self.length // 2} samples, not {self.overlap}")

    @property
    def hop(self) -> int:
        """Samples from the start of one segment to the start of the next."""
        return self.length - self.overlap

    def count(self, samples: int) -> int:
        """Number of segments of a stream of ``samples`` samples."""
        return 0 if samples == 0 else 1 + max(0, -(-(samples - self.length) // self.hop))

    def fade_in(self) -> Samples:
        """Rising half of a raised cosine, ``(overlap,)``; reversed it is the fade-out, the two sum to one."""
        return _raised_cosine(self.overlap)


@lru_cache(maxsize=8)
def _raised_cosine(samples: int) -> Samples:
    position = (np.arange(samples) + 0.5) / max(1, samples)
    rising: Samples = (0.5 - 0.5 * np.cos(np.pi * position)).astype(np.float32)
    rising.flags.writeable = False
    return rising


@dataclass(frozen=True, eq=False)
class Segment:
    """Piece ``index`` of a stream: ``samples`` ``(length,)``, padding after the first ``valid`` of them."""

    index: int
    samples: Samples
    valid: int
    last: bool


class Segmenter:
    """Cuts one stream; a stream without samples gives no segment, a short one gives one padded segment."""

    def __init__(self, plan: SegmentPlan) -> None:
        self._plan = plan
        self._buffer = np.zeros(0, dtype=np.float32)
        self._index = 0

    def push(self, samples: Samples) -> list[Segment]:
        """Take ``(n,)`` samples and return the segments that are complete and surely not the last."""
        buffer = np.concatenate([self._buffer, samples], dtype=np.float32)
        length, hop = self._plan.length, self._plan.hop
        count = max(0, -(-(len(buffer) - length) // hop))
        first, self._index = self._index, self._index + count
        self._buffer = buffer[count * hop :].copy()
        return [Segment(first + i, buffer[i * hop :][:length].copy(), length, False) for i in range(count)]

    def flush(self) -> list[Segment]:
        """End the stream: its last segment, padded with zeros, or none where the stream was empty."""
        valid = len(self._buffer)
        padded = np.pad(self._buffer, (0, self._plan.length - valid))
        self._buffer = self._buffer[:0]
        return [Segment(self._index, padded, valid, True)] if valid else []


class OverlapAdd:
    """Joins the processed segments of one stream; all that :meth:`push` returns is as long as the stream.

    Neighbours cross-fade over their overlap; the start of the first segment and the end of the last carry
    weight one. Segments that were not changed therefore give back the stream.
    """

    def __init__(self, plan: SegmentPlan) -> None:
        self._plan = plan
        self._fade_in = plan.fade_in()
        self._tail = np.zeros(0, dtype=np.float32)
        self._tail_weight = self._tail
        self._next = 0
        self._ended = False

    def push(self, segment: Segment) -> Samples:
        """Take the next segment, return the ``(..., m)`` samples that it finishes; ValueError if out of order.

        Samples are ``(..., length)``: what was made of one stretch may be joined together, each by itself.
        """
        if self._ended or segment.index != self._next or segment.samples.shape[-1] != self._plan.length:
            raise ValueError(f"segment {segment.index} of {segment.samples.shape} where {self._next} was due")
        length = segment.valid if segment.last else self._plan.length
        weight = self._weight(segment)[:length]
        faded = segment.samples[..., :length] * weight
        shared = len(self._tail_weight)
        if shared:
            faded[..., :shared] += self._tail
            weight[:shared] += self._tail_weight
        done = length if segment.last else self._plan.hop
        assert np.allclose(weight[:done], 1.0, rtol=0.0, atol=1e-6)
        self._tail, self._tail_weight = faded[..., done:], weight[done:]
        self._next += 1
        self._ended = segment.last
        return faded[..., :done]

    def _weight(self, segment: Segment) -> Samples:
        weight = np.ones(self._plan.length, dtype=np.float32)
        overlap = self._plan.overlap
        if segment.index:
            weight[:overlap] *= self._fade_in
        if not segment.last:
            weight[self._plan.hop :] *= self._fade_in[::-1]
        return weight
