"""How much of a recording DNSMOS rates."""

from __future__ import annotations

import pytest

from exdiff_cli.measures.rated import SECONDS_A_WINDOW, rated_windows


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
