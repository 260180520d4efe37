"""The distributions that a run report shows, as SVG for the page to inline; colours are the page's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from exdiff_cli.report.page import render

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 40
GRAIN = 0.02
"""Dots of a hundred thousand recordings are drawn once where they would hide each other."""

BIN = 0.1
MOST_BINS = 60


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self, step: float) -> Iterator[tuple[float, str]]:
        """Place and label of the multiples of ``step``."""
        for number in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1):
            yield self(number * step), f"{number * step:g}"


def scatter_plot(before: Sequence[float], after: Sequence[float]) -> str:
    """A dot a recording; those under the diagonal fell. Empty where there are none."""
    if not before:
        return ""
    low = floor(min(min(before), min(after)) * 2) / 2
    high = max(ceil(max(max(before), max(after)) * 2) / 2, low + 0.5)
    across, up = Scale(low, high, LEFT, WIDTH - RIGHT), Scale(low, high, HEIGHT - BOTTOM, TOP)
    grains = {(round(x / GRAIN), round(y / GRAIN)) for x, y in zip(before, after, strict=True)}
    dots = dict.fromkeys(("rose", "fell"), "")
    for x, y in sorted(grains):
        dots["fell" if y < x else "rose"] += f"M{across(x * GRAIN)} {up(y * GRAIN)}h0"
    return render(
        "scatter.svg",
        **_frame(),
        dots=dots,
        size=9 if len(grains) < 100 else 6 if len(grains) < 1000 else 4,
        across=list(across.ticks(0.5)),
        up=list(up.ticks(0.5)),
    )


def gain_plot(gains: Sequence[float]) -> str:
    """How many recordings gained how much; empty where there are none."""
    if not gains:
        return ""
    counts = Counter(floor(gain / BIN + 1e-9) for gain in gains)
    first, last = min(*counts, -3), max(*counts, 6)
    wide = ceil((last - first + 1) / MOST_BINS)
    heights: Counter[int] = Counter()
    for place, count in counts.items():
        heights[floor(place / wide)] += count
    across = Scale(floor(first / wide) * wide * BIN, (floor(last / wide) + 1) * wide * BIN, LEFT, WIDTH - RIGHT)
    up = Scale(0, max(heights.values()), HEIGHT - BOTTOM, TOP)
    bars = [
        (*map(across, (place * wide * BIN, (place + 1) * wide * BIN)), up(count), place < 0, count)
        for place, count in sorted(heights.items())
    ]
    rise = _even_step(up.high / 4)
    return render(
        "gains.svg",
        **_frame(),
        bars=bars,
        across=list(across.ticks(_even_step((across.high - across.low) / 10))),
        up=list(up.ticks(max(1, rise))),
        zero=across(0),
        mean=across(sum(gains) / len(gains)),
    )


def _even_step(least: float) -> float:
    """The next of 1, 2 and 5, and of their tenths and tens and so on."""
    power = 10.0 ** floor(log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def _frame() -> dict[str, int]:
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "floor": HEIGHT - BOTTOM,
    }
