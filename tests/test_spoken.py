"""Stretches: all that is spoken lies within, with room around it, in lengths that batches share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exdiff_cli.measures import Floats
from exdiff_cli.measures.activity import FRAME_SAMPLES
from exdiff_cli.spoken import FADE_FRAMES, GRID, MARGIN, Stretch, fade, spoken_stretch

LENGTH, STEP, SHORTEST = 131_072, 16_384, 32_768


def heard(*spoken: tuple[int, int], frames: int = LENGTH // FRAME_SAMPLES) -> Floats:
    """Probabilities that are high between these frames."""
    probabilities = np.full(frames, 0.05, np.float32)
    for first, past in spoken:
        probabilities[first:past] = 0.6
    return probabilities


def test_nobody_speaks() -> None:
    assert spoken_stretch(heard(), LENGTH, STEP, SHORTEST) is None
    assert spoken_stretch(heard(frames=0), LENGTH, STEP, SHORTEST) is None


@pytest.mark.parametrize(
    "spoken", [((0, 1),), ((255, 256),), ((100, 101),), ((0, 256),), ((20, 80),), ((60, 61), (180, 199)), ((3, 250),)]
)
@pytest.mark.parametrize("length", [LENGTH, 49_152, SHORTEST])
def test_all_words_and_their_margins_lie_within(spoken: tuple[tuple[int, int], ...], length: int) -> None:
    probabilities = heard(*spoken)[: length // FRAME_SAMPLES]
    found = spoken_stretch(probabilities, length, STEP, SHORTEST)
    words = np.flatnonzero(probabilities > 0.5) * FRAME_SAMPLES
    if not len(words):
        assert found is None
        return
    assert found is not None
    assert 0 <= found.first <= max(words[0] - MARGIN, 0)
    assert min(words[-1] + FRAME_SAMPLES + MARGIN, length) <= found.past <= length
    size = found.past - found.first
    assert size == length or (size % STEP == 0 and size >= SHORTEST)
    assert found.first % GRID == 0


def test_frames_of_a_stretch() -> None:
    assert Stretch(512, 512 + SHORTEST).frames(256) == slice(2, 2 + SHORTEST // 256 + 1)
    assert Stretch(0, 80_000).frames(256) == slice(0, 314)  # as many as the transform of 80,000 samples has


@pytest.mark.parametrize(("first", "past"), [(0, 100), (0, 60), (40, 100), (40, 90)])
def test_a_part_fades_where_the_segment_goes_on(first: int, past: int) -> None:
    weight = fade(slice(first, past), 100)
    assert weight.shape == (past - first,)
    assert torch.all(weight[FADE_FRAMES:-FADE_FRAMES] == 1)
    assert weight[0] == (1 if first == 0 else pytest.approx(1 / FADE_FRAMES))
    assert weight[-1] == (1 if past == 100 else pytest.approx(1 / FADE_FRAMES))
    assert torch.diff(weight).abs().max() <= 1 / FADE_FRAMES + 1e-6


def test_the_fade_is_over_before_the_words_begin() -> None:
    assert FADE_FRAMES * 256 <= MARGIN - GRID
