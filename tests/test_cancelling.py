"""Channels that cancel each other are told from those that are only faint, or have nothing in common."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import talk
from signals import chunks

from exdiff_cli.measures import Floats
from exdiff_cli.measures.cancelling import CancellingMeter

RATE = 8_000


def loudest(audio: Floats, starts: tuple[int, ...] = (0,), seconds: int = 10) -> dict[int, int]:
    meter = CancellingMeter(RATE, len(audio))
    for chunk in chunks(audio):
        meter.push(chunk)
    return meter.loudest(starts, seconds)


def noise(channels: int, seconds: float = 3.4) -> Floats:
    return np.random.default_rng(0).normal(size=(channels, int(seconds * RATE))) * 0.1


def test_of_inverted_channels_the_louder_is_heard() -> None:
    sound = noise(1)[0]
    assert loudest(np.stack((sound, -sound))) == {0: 0}
    assert loudest(np.stack((0.9 * sound, -sound))) == {0: 1}


@pytest.mark.parametrize("decibels", [-9.0, -11.0])
def test_the_mean_of_two_has_to_be_ten_decibels_below_both(decibels: float) -> None:
    first, second = noise(2)
    second -= first * np.dot(first, second) / np.dot(first, first)
    second *= np.linalg.norm(first) / np.linalg.norm(second)
    share = 10 ** (decibels / 20)
    apart = np.sqrt(1 - share**2) * second
    cancels = bool(loudest(np.stack((share * first + apart, share * first - apart))))
    assert cancels is (decibels < -10)


@pytest.mark.parametrize("channels", [1, 2, 6, 16])
def test_channels_with_nothing_in_common_or_all_but_one_silent_do_not_cancel(channels: int) -> None:
    sound = noise(channels)
    assert loudest(sound) == {}
    sound[1:] = 0
    assert loudest(sound) == {}
    assert loudest(0 * sound) == {}
    assert loudest(talk(3.0, RATE, channels)) == {}


def test_each_window_is_told_by_itself() -> None:
    sound = noise(1, 7.5)[0]
    other = np.concatenate((sound[: 3 * RATE], -0.8 * sound[3 * RATE : 5 * RATE], -1.25 * sound[5 * RATE :]))
    assert loudest(np.stack((sound, other)), (0, 3, 5, 6), 2) == {3: 0, 5: 1, 6: 1}
