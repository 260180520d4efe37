"""How much of a recording DNSMOS rates."""

from __future__ import annotations

from hashlib import sha256

import pytest

from exdiff_cli.measures.rated import SECONDS_A_WINDOW, is_drawn, rated_windows


@pytest.mark.parametrize(
    ("windows", "seconds", "rated"),
    [
        (1, 5.0, [0]),
        (12, 149.0, [6]),
        (12, 600.0, [1, 4, 7, 10]),
        (12, 36_000.0, list(range(12))),
        (3, 36_000.0, [0, 1, 2]),
    ],
)
def test_one_for_each_two_and_a_half_minutes_spread_over_all(windows: int, seconds: float, rated: list[int]) -> None:
    assert rated_windows(windows, seconds) == rated
    assert SECONDS_A_WINDOW == 150


@pytest.mark.parametrize("seconds", [2.0, 15.0, 60.0, 150.0, 3600.0])
def test_as_many_recordings_are_drawn_as_have_a_window_for_each_two_and_a_half_minutes(seconds: float) -> None:
    contents = [sha256(str(number).encode()).hexdigest() for number in range(4000)]
    drawn = [content for content in contents if is_drawn(content, seconds)]
    assert len(drawn) / len(contents) == pytest.approx(min(1.0, seconds / SECONDS_A_WINDOW), abs=0.025)
    assert all(is_drawn(content, 2 * seconds) for content in drawn)
