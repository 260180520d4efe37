from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exdiff_cli.audio.segments import OverlapAdd, Samples, Segment, Segmenter, SegmentPlan

PLANS = [SegmentPlan(100, 25), SegmentPlan(64, 32), SegmentPlan(7, 3), SegmentPlan(10, 0), SegmentPlan(1, 0)]
LENGTHS = [1, 2, 6, 7, 8, 63, 64, 65, 96, 99, 100, 101, 174, 175, 176, 1_000, 1_237]


def noise(samples: int) -> Samples:
    return np.random.default_rng(3).uniform(-1, 1, samples).astype(np.float32)


def cut(plan: SegmentPlan, stream: Samples, chunk: int) -> list[Segment]:
    segmenter = Segmenter(plan)
    segments = [s for start in range(0, len(stream), chunk) for s in segmenter.push(stream[start:][:chunk])]
    return segments + segmenter.flush()


def join(plan: SegmentPlan, segments: list[Segment]) -> Samples:
    overlap_add = OverlapAdd(plan)
    return np.concatenate([np.zeros(0, np.float32), *(overlap_add.push(segment) for segment in segments)])


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("chunk", [13, 160, 100_000])
def test_identity_gives_back_the_stream(plan: SegmentPlan, length: int, chunk: int) -> None:
    stream = noise(length)
    segments = cut(plan, stream, chunk)
    assert len(segments) == plan.count(length)
    np.testing.assert_allclose(join(plan, segments), stream, rtol=0, atol=1e-6)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("length", LENGTHS)
def test_weights_sum_to_one_everywhere(plan: SegmentPlan, length: int) -> None:
    segments = [replace(segment, samples=np.ones(plan.length, np.float32)) for segment in cut(plan, noise(length), 50)]
    np.testing.assert_allclose(join(plan, segments), np.ones(length), rtol=0, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 1, 2, 3, 50, 1_000, 16_000])
def test_fades_of_neighbours_sum_to_one(overlap: int) -> None:
    fade = SegmentPlan(32_000, overlap).fade_in()
    assert fade.shape == (overlap,)
    np.testing.assert_allclose(fade + fade[::-1], 1.0, rtol=0, atol=1e-6)
    assert np.all(np.diff(fade) >= 0)


def test_segments_are_consecutive_and_the_last_is_padded() -> None:
    plan = SegmentPlan(10, 4)
    stream = np.arange(1, 21, dtype=np.float32)
    segments = cut(plan, stream, 3)
    assert [(s.index, s.valid, s.last) for s in segments] == [(0, 10, False), (1, 10, False), (2, 8, True)]
    assert all(s.samples.shape == (10,) for s in segments)
    np.testing.assert_array_equal(segments[1].samples, stream[6:16])
    np.testing.assert_array_equal(segments[2].samples, [*stream[12:], 0, 0])


@pytest.mark.parametrize(("length", "valid"), [(1, 1), (9, 9), (10, 10)])
def test_a_short_stream_gives_one_segment(length: int, valid: int) -> None:
    (segment,) = cut(SegmentPlan(10, 4), noise(length), 5)
    assert (segment.valid, segment.last) == (valid, True)


def test_an_empty_stream_gives_none() -> None:
    plan = SegmentPlan(10, 4)
    assert cut(plan, noise(0), 5) == []
    assert plan.count(0) == 0


def test_a_segment_comes_as_soon_as_it_is_complete() -> None:
    segmenter = Segmenter(SegmentPlan(10, 4))
    assert segmenter.push(noise(10)) == []  # may still be the last
    assert len(segmenter.push(noise(1))) == 1


def test_segments_may_be_changed_in_place() -> None:
    plan = SegmentPlan(10, 4)
    first, second = Segmenter(plan).push(noise(30))[:2]
    kept = second.samples.copy()
    first.samples[:] = 0
    np.testing.assert_array_equal(second.samples, kept)


def test_cross_fade_lies_between_its_segments() -> None:
    plan = SegmentPlan(10, 4)
    segments = [replace(s, samples=np.full(10, s.index, np.float32)) for s in cut(plan, noise(16), 16)]
    joined = join(plan, segments)
    assert np.all(joined[:6] == 0)
    assert np.all(np.diff(joined[5:11]) > 0)
    assert np.all(joined[10:] == 1)


def test_segments_out_of_order_are_refused() -> None:
    plan = SegmentPlan(10, 4)
    first, second, *_ = cut(plan, noise(30), 30)
    overlap_add = OverlapAdd(plan)
    with pytest.raises(ValueError, match="where 0 was due"):
        overlap_add.push(second)
    overlap_add.push(first)
    with pytest.raises(ValueError, match="where 1 was due"):
        overlap_add.push(first)


def test_segments_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="was due"):
        OverlapAdd(SegmentPlan(10, 4)).push(Segment(0, noise(9), 9, True))


def test_a_finished_stream_takes_nothing_more() -> None:
    plan = SegmentPlan(10, 4)
    overlap_add = OverlapAdd(plan)
    (segment,) = cut(plan, noise(5), 5)
    overlap_add.push(segment)
    with pytest.raises(ValueError, match="was due"):
        overlap_add.push(replace(segment, index=1))


def test_weights_that_do_not_sum_to_one_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentPlan, "fade_in", lambda plan: np.full(plan.overlap, 0.4, np.float32))
    plan = SegmentPlan(10, 4)
    with pytest.raises(AssertionError):
        join(plan, cut(plan, noise(30), 30))


@pytest.mark.parametrize(("length", "overlap"), [(0, 0), (-1, 0), (10, 6), (10, -1)])
def test_impossible_plans_are_refused(length: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="sample"):
        SegmentPlan(length, overlap)
