"""Listening tests: which excerpts, how alike both sides are, and that the page does not tell which is which."""

from __future__ import annotations

import logging
import os
import shutil
from base64 import b64encode
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import torchaudio
from listening_tests import clip_bytes, decoded, embedded, enhanced, output_folder, write
from recordings import talk
from scipy.signal import freqz

from exdiff_cli.audio.recording import Samples
from exdiff_cli.errors import DataError, NoInputError, UsageError
from exdiff_cli.listening.excerpts import Excerpt, draw_starts, find_excerpts, read_excerpt
from exdiff_cli.listening.key import Kind, key_path, read_key
from exdiff_cli.listening.make import ListeningTest, make_test, refuse_to_overwrite, write_test
from exdiff_cli.listening.sources import Comparison
from exdiff_cli.listening.stimuli import align, encode, loudness, low_pass, match_loudness


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return output_folder(tmp_path_factory.mktemp("listening"))


@pytest.fixture(scope="module")
def made(out: Path) -> ListeningTest:
    return make_test(Comparison(out), 5, 2.0, seed=1)


# --- excerpts -----------------------------------------------------------------------------------------------


def test_excerpts_lie_where_somebody_speaks() -> None:
    probabilities = np.zeros(1000)
    probabilities[300:420] = 0.9
    starts = {start for seed in range(30) for start in draw_starts(probabilities, 3.2, Random(seed))}
    assert len(starts) > 5
    heard = [probabilities[round(start / 0.032) :][:100].mean() / 0.9 for start in starts]
    assert min(heard) >= 0.8


def test_excerpts_do_not_overlap_and_are_as_long_as_asked() -> None:
    starts = sorted(draw_starts(np.full(1000, 0.9), 3.2, Random(0)))
    assert len(starts) > 3
    assert min(np.diff(starts)) >= 3.2 - 1e-9
    assert max(starts) + 3.2 <= 32 + 1e-9


def test_nothing_is_drawn_where_nobody_speaks(tmp_path: Path) -> None:
    assert draw_starts(np.full(1000, 0.1), 3.2, Random(0)) == []
    noise = np.random.default_rng(0).normal(size=(1, 64_000)).astype(np.float32)
    assert find_excerpts([write(tmp_path / "noise.wav", 0.05 * noise)], 2, Random(0)) == []
    assert find_excerpts([write(tmp_path / "short.wav", talk(0.9))], 2, Random(0)) == []


def test_a_short_recording_is_heard_whole(tmp_path: Path) -> None:
    (excerpt,) = find_excerpts([write(tmp_path / "a.wav", talk(2.0))], 8, Random(0))
    assert excerpt == Excerpt(0, 2.0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_an_excerpt_is_what_lies_there(tmp_path: Path, rate: int) -> None:
    t = np.arange(4 * rate) / rate
    tones = np.where(t < 2, np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 1200 * t))
    path = write(tmp_path / "a.wav", 0.5 * np.stack([tones, tones]).astype(np.float32), rate)
    heard = read_excerpt(path, Excerpt(2.5, 1.0))
    assert heard.shape == (2, 48_000)
    expected = 0.5 * np.sin(2 * np.pi * 1200 * (2.5 + np.arange(48_000) / 48_000))
    np.testing.assert_allclose(heard[0, 500:-500], expected[500:-500], atol=5e-3)


def test_every_recording_is_heard_before_one_is_heard_again(made: ListeningTest, out: Path) -> None:
    counts = Counter(trial.recording for trial in made.key.trials)
    assert len(made.key.trials) == 5
    assert len(counts) == 3
    assert max(counts.values()) <= 3
    for seed in range(2):
        three = make_test(Comparison(out), 3, 2.0, seed)
        assert len({trial.recording for trial in three.key.trials}) == 3


def test_what_is_gone_or_changed_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = output_folder(tmp_path)
    (tmp_path / "in/calls/0.wav").unlink()
    write(out / "calls/1.wav", talk(9.0))
    with caplog.at_level(logging.WARNING):
        made = make_test(Comparison(out), 5, 2.0, seed=0)
    assert {trial.recording for trial in made.key.trials} == {"street/<b> & 'c'.wav"}
    assert len(caplog.messages) == 2
    assert any("in/calls/0.wav: cannot be read" in line for line in caplog.messages)
    assert any("out/calls/1.wav: is not the file that it was" in line for line in caplog.messages)
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(NoInputError, match="no excerpts"):
        make_test(Comparison(out), 5, 2.0, seed=0)


def test_versions_that_sound_alike_are_no_pair(tmp_path: Path) -> None:
    out = output_folder(tmp_path, lengths={"a.wav": 4.0, "b.wav": 4.0})
    same = output_folder(tmp_path, "same", gain=0.2, lengths={"a.wav": 4.0, "b.wav": 4.0})
    with pytest.raises(NoInputError):
        make_test(Comparison(out, (same,)), 2, 2.0, seed=0)


# --- stimuli ------------------------------------------------------------------------------------------------


def lufs(samples: Samples) -> float:
    return torchaudio.functional.loudness(torch.from_numpy(samples), 48_000).item()


def test_versions_are_brought_to_one_form() -> None:
    mono, stereo = talk(1.0, 48_000), talk(1.1, 48_000, channels=2)
    assert {version.shape for version in align([stereo, stereo[:, :-5]])} == {(2, stereo.shape[1] - 5)}
    first, second = align([mono, stereo])
    assert first.shape == second.shape == mono.shape
    np.testing.assert_allclose(second[0, 1000:-1000], stereo.mean(axis=0)[1000 : mono.shape[1] - 1000], atol=1e-6)
    assert np.abs(second[0, [0, -1]]).max() < 1e-3  # so that a loop does not click
    assert decoded_size(stereo) == (2, stereo.shape[1])


def decoded_size(samples: Samples) -> tuple[int, ...]:
    content = encode(samples, np.random.default_rng(0))
    return decoded("data:audio/ogg;base64," + b64encode(content).decode()).shape


def test_names_of_any_bytes(tmp_path: Path) -> None:
    name = "two\nlines " + os.fsdecode(b"\xe4") + "</script>.wav"
    lengths = {name.replace("/", "|"): 3.0}
    page = tmp_path / "a.html"
    write_test(page, make_test(Comparison(output_folder(tmp_path, lengths=lengths)), 1, 2.0, seed=0))
    assert read_key(key_path(page)).trials[0].recording == r"two\nlines \xe4<|script>.wav"


def test_both_sides_are_equally_loud_as_decoded(out: Path) -> None:
    made = make_test(Comparison(out), 4, 4.0, seed=1)
    assert len(made.key.trials) >= 3
    for trial in embedded(made.page)["trials"]:
        first, second = (decoded(clip) for clip in trial["clips"])
        assert first.shape == second.shape
        assert lufs(first) == pytest.approx(lufs(second), abs=0.1)
        assert max(np.abs(first).max(), np.abs(second).max()) < 1


def test_a_peak_turns_both_sides_down() -> None:
    quiet = talk(2, 48_000)
    spiky = quiet.copy()
    spiky[0, 48_000] = 20
    matched = match_loudness([quiet, spiky])
    assert matched is not None
    assert np.abs(matched[1]).max() <= 0.9
    assert loudness(matched[0]) == pytest.approx(loudness(matched[1]), abs=0.05)
    assert match_loudness([quiet, np.zeros_like(quiet)]) is None


def test_size_and_form_are_the_same_whatever_the_sound(made: ListeningTest) -> None:
    for trial in embedded(made.page)["trials"]:
        first, second = (clip_bytes(clip) for clip in trial["clips"])
        assert len(first) == len(second)
        assert first[:28] == second[:28]
    random = np.random.default_rng(0)
    noise, silence = 0.1 * random.normal(size=(1, 70_000)).astype(np.float32), np.zeros((1, 70_000), np.float32)
    sizes = {len(encode(sound, random)) for sound in (noise, silence, 0.01 * noise, low_pass(noise, 3500))}
    assert len(sizes) == 1


def test_digital_silence_does_not_show_in_the_bytes() -> None:
    content = encode(np.zeros((1, 96_000), np.float32), np.random.default_rng(0))
    assert bytes(64) not in content  # a packet has 320 bytes, and without dither all of them would be zero


def test_twenty_pairs_of_eight_seconds_are_small() -> None:
    clip = encode(np.zeros((1, 8 * 48_000), np.float32), np.random.default_rng(0))
    assert 40 * len(clip) * 4 / 3 < 8e6


def test_the_anchor_is_that_of_the_recommendation() -> None:
    impulse = np.zeros((1, 4096), np.float32)
    impulse[0, 2048] = 1
    frequencies, response = freqz(low_pass(impulse, 3500)[0], worN=8192, fs=48_000)
    decibels = 20 * np.log10(np.abs(response) + 1e-9)
    assert np.abs(decibels[frequencies <= 3500]).max() <= 0.1
    assert decibels[frequencies >= 4000].max() <= -25
    assert decibels[frequencies >= 4500].max() <= -50


# --- what the page gives away -------------------------------------------------------------------------------


def test_the_page_does_not_tell_what_is_what(made: ListeningTest, out: Path) -> None:
    page = made.page.lower()
    names = (*made.key.systems, *(trial.recording for trial in made.key.trials), "&lt;b&gt;", ".wav", str(out), "http")
    for word in names:
        assert word.lower() not in page, word
    for trial in embedded(made.page)["trials"]:
        assert set(trial) == {"trial", "clips"}


def test_order_is_random_and_fixed_by_the_seed(made: ListeningTest, out: Path) -> None:
    again = make_test(Comparison(out), 5, 2.0, seed=1)
    assert (again.key, again.page) == (made.key, made.page)
    tests = [make_test(Comparison(out), 5, 2.0, seed=seed) for seed in range(2, 6)]
    orders = Counter(trial.order for test in tests for trial in test.key.trials)
    assert set(orders) == {("enhanced", "original"), ("original", "enhanced")}
    assert min(orders.values()) >= 3
    assert len({tuple(trial.recording for trial in test.key.trials) for test in tests}) > 1
    assert len({test.key.test for test in [made, *tests]}) == 5


def test_the_order_does_not_follow_from_the_seed_alone(tmp_path: Path) -> None:
    orders = set()
    for number in range(3):
        root = tmp_path / str(number)
        write(root / "in/a.wav", np.roll(talk(9.0), 10 * number), subtype="PCM_16")
        test = make_test(Comparison(output_folder(root, lengths={"a.wav": 9.0})), 4, 1.5, seed=0)
        orders.add(tuple(trial.order for trial in test.key.trials))
    assert len(orders) > 1


def test_the_key_says_which_clip_is_the_result(made: ListeningTest, out: Path) -> None:
    """By the noise, of which the result has less."""
    for trial, shown in zip(made.key.trials, embedded(made.page)["trials"], strict=True):
        start = Excerpt(trial.start_s, trial.seconds)
        result = read_excerpt(out / trial.recording, start)
        likeness = [float(np.corrcoef(decoded(clip)[0], result[0])[0, 1]) for clip in shown["clips"]]
        assert trial.order[int(np.argmax(likeness))] == "enhanced"


def test_nothing_is_overwritten(made: ListeningTest, tmp_path: Path) -> None:
    page = tmp_path / "test.html"
    refuse_to_overwrite(page)
    write_test(page, made)
    assert read_key(key_path(page)) == made.key
    with pytest.raises(UsageError, match="exists"):
        refuse_to_overwrite(page)
    page.unlink()
    with pytest.raises(UsageError, match=r"key\.json: exists"):
        refuse_to_overwrite(page)
    with pytest.raises(UsageError, match=r"ends in \.html"):
        refuse_to_overwrite(tmp_path / "call.wav")


# --- other forms --------------------------------------------------------------------------------------------


def test_two_output_folders_over_what_both_have(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    both = {"a.wav": 4.0, "b.wav": 4.0}
    first = output_folder(tmp_path, "first", {**both, "c.wav": 4.0, "d.wav": 4.0})
    second = output_folder(tmp_path, "second", {**both, "c.wav": 4.0}, clean_share=0.2)
    # A recording of the same name that is another one, and an original that is gone: two results need none.
    write(tmp_path / "in/c.wav", talk(5.0), subtype="PCM_16")
    output_folder(tmp_path, "second", {"c.wav": 5.0}, clean_share=0.2)
    (tmp_path / "in/a.wav").unlink()
    with caplog.at_level(logging.WARNING):
        test = make_test(Comparison(first, (second,)), 4, 2.0, seed=0)
    assert test.key.systems == ("first", "second")
    assert {trial.recording for trial in test.key.trials} == {"a.wav", "b.wav"}
    assert caplog.messages == [f"recordings passed over: 2, as {second} has none of the same original"]
    with pytest.raises(UsageError, match="compared already"):
        make_test(Comparison(first, (first,)), 2, 2.0, seed=0)
    with pytest.raises(UsageError, match="two sides"):
        make_test(Comparison(first, (second, tmp_path / "third")), 2, 2.0, seed=0)


def test_ratings_against_a_reference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = output_folder(tmp_path)
    write(tmp_path / "clean/calls/0.flac", enhanced(tmp_path / "in/calls/0.wav", 1.0, 1.0), subtype="PCM_16")
    write(tmp_path / "clean/elsewhere/1.wav", enhanced(tmp_path / "in/calls/1.wav", 1.0, 1.0), subtype="PCM_16")
    with caplog.at_level(logging.WARNING):
        test = make_test(Comparison(out, reference=tmp_path / "clean"), 3, 4.0, seed=0)
    assert "recordings passed over: 1, as" in caplog.text
    assert test.key.kind is Kind.MUSHRA
    assert {trial.recording for trial in test.key.trials} == {"calls/0.wav", "calls/1.wav"}
    for trial, shown in zip(test.key.trials, embedded(test.page)["trials"], strict=True):
        assert sorted(trial.order) == ["anchor", "enhanced", "original", "reference"]
        assert len({len(clip_bytes(clip)) for clip in shown["clips"]}) == 1
        # The hidden reference sounds like the open one, and is not the same text.
        hidden, open_one = shown["clips"][trial.order.index("reference")], shown["clips"][-1]
        assert hidden != open_one
        assert float(np.corrcoef(decoded(hidden)[0], decoded(open_one)[0])[0, 1]) > 0.999
        levels = [lufs(decoded(clip)) for clip in shown["clips"]]
        assert max(levels) - min(levels) <= 0.1


def test_a_reference_that_does_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = output_folder(tmp_path, lengths={"a.wav": 4.0})
    with pytest.raises(DataError, match="no such folder"):
        make_test(Comparison(out, reference=tmp_path / "gone"), 2, 2.0, seed=0)
    write(tmp_path / "clean/a.wav", talk(3.0))
    with pytest.raises(NoInputError):
        make_test(Comparison(out, reference=tmp_path / "clean"), 2, 2.0, seed=0)
    assert "lasts 3.00 s, and what it is the reference of 4.00 s" in caplog.text
