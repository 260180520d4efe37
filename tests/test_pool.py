"""Training audio: honest splits, faithful decoding, and one clear line for a bad data directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from exdiff_cli.errors import DataError, ExitCode
from exdiff_cli.training.pool import (
    Pool,
    TrainingAudio,
    decode,
    find_audio,
    held_out,
    joined,
    load_pool,
    load_training_audio,
)


def clips(pool: Pool) -> set[int]:
    """The clips in a pool, told by their lengths: no two of the test data have the same."""
    return set(pool.lengths.tolist())


@pytest.fixture(scope="module")
def extract_audio(data_dir: Path) -> TrainingAudio:
    return load_training_audio(data_dir, for_diffuse=False)


def test_validation_noise_is_never_trained_on(training_audio: TrainingAudio, extract_audio: TrainingAudio) -> None:
    for audio in (training_audio, extract_audio):
        assert clips(audio.valid_noise)
        assert not clips(audio.valid_noise) & clips(audio.noise)
        assert not clips(audio.valid_speech) & clips(audio.speech)
    assert clips(training_audio.valid_noise) == clips(extract_audio.valid_noise)


def test_validation_noise_stays_the_same_recordings(data_dir: Path, training_audio: TrainingAudio) -> None:
    """Another split would judge older weights on noise that they have learnt from."""
    fourth = find_audio(data_dir / "noise")[3]
    assert clips(training_audio.valid_noise) == {soundfile.info(fourth).frames}


def test_extract_leaves_some_for_diffuse(training_audio: TrainingAudio, extract_audio: TrainingAudio) -> None:
    assert clips(extract_audio.noise) < clips(training_audio.noise)
    assert clips(extract_audio.speech) < clips(training_audio.speech)
    assert len(clips(training_audio.noise) | clips(training_audio.valid_noise)) == 8
    assert len(clips(training_audio.speech)) == 10


def test_single_recordings_serve_all_parts(tmp_path: Path, data_dir: Path) -> None:
    for source in ("speech/train/talk0.wav", "speech/valid/sentence.wav", "noise/hall/noise1.flac"):
        (tmp_path / source).parent.mkdir(parents=True)
        shutil.copy(data_dir / source, tmp_path / source)
    for for_diffuse in (True, False):
        audio = load_training_audio(tmp_path, for_diffuse)
        assert clips(audio.noise) == clips(audio.valid_noise)
        assert len(audio.speech.lengths) == 1


def test_every_sixth_is_held_out() -> None:
    paths = [Path(str(number)) for number in range(14)]
    assert [path.name for path in held_out(paths, 3)] == ["3", "9"]
    assert [path.name for path in held_out(paths, 1)] == ["1", "7", "13"]


def test_loading_is_repeatable(data_dir: Path, training_audio: TrainingAudio) -> None:
    again = load_training_audio(data_dir, for_diffuse=True)
    assert torch.equal(again.speech.samples, training_audio.speech.samples)
    assert torch.equal(again.noise.starts, training_audio.noise.starts)


def test_pauses_follow_clips_and_edges_are_faded(data_dir: Path) -> None:
    paths = find_audio(data_dir / "speech" / "train")
    pool = load_pool(paths, pauses=True)
    assert len(pool.starts) == len(paths)
    following = [*pool.starts.tolist()[1:], len(pool.samples)]
    for path, start, length, after in zip(paths, pool.starts.tolist(), pool.lengths.tolist(), following, strict=True):
        clip = pool.samples[start : start + length]
        assert np.array_equal(clip[200:-200], decode(path, 16_000)[200:-200])
        assert clip[0] == 0
        assert 1600 <= after - start - length <= 8000
        assert not pool.samples[start + length : after].any()


def test_noise_has_no_pauses(training_audio: TrainingAudio) -> None:
    noise = training_audio.noise
    assert len(noise.samples) == noise.lengths.sum()
    assert torch.equal(noise.starts[1:], (noise.starts + noise.lengths)[:-1])


def test_other_rates_and_channels_are_converted(tmp_path: Path) -> None:
    """One second of 48 kHz stereo, 0.5 on the left and 0.3 on the right, is 0.4 at 16 kHz in mono."""
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    soundfile.write(tmp_path / "stereo.wav", np.stack((0.5 * tone, 0.3 * tone), axis=1), 48_000)
    clip = decode(tmp_path / "stereo.wav", 16_000)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert clip.shape == (16_000,)
    assert clip.dtype == np.int16
    assert np.abs(clip / 32767 - expected)[200:-200].max() < 0.005


def test_full_scale_does_not_wrap(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.array([1.5, -1.5, 0.0]), 16_000, subtype="FLOAT")
    assert decode(tmp_path / "loud.wav", 16_000).tolist() == [32767, -32767, 0]


def test_audio_is_found_in_folders_and_sorted(tmp_path: Path) -> None:
    for name in ("b/two.WAV", "a/deep/one.opus", "notes.txt", "three.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a/deep/one.opus", "b/two.WAV", "three.flac"]


def copy_of(data_dir: Path, target: Path) -> Path:
    shutil.copytree(data_dir, target)
    return target


def refusal(data: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_training_audio(data, for_diffuse=True)
    message = str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "\n" not in message
    return message


@pytest.mark.parametrize("part", ["noise", "speech/train", "speech/valid"])
def test_missing_folder_is_named(data_dir: Path, tmp_path: Path, part: str) -> None:
    data = copy_of(data_dir, tmp_path / "data")
    shutil.rmtree(data / part)
    assert refusal(data).startswith(f"{data / part}: no such folder")


def test_empty_folder_is_named(data_dir: Path, tmp_path: Path) -> None:
    data = copy_of(data_dir, tmp_path / "data")
    shutil.rmtree(data / "speech" / "valid")
    (data / "speech" / "valid").mkdir()
    assert refusal(data).startswith(f"{data / 'speech' / 'valid'}: holds no audio")


@pytest.mark.parametrize("content", [b"", b"not a sound at all", b"RIFF\x24\x00\x00\x00WAVEfmt "])
def test_undecodable_file_is_named(data_dir: Path, tmp_path: Path, content: bytes) -> None:
    data = copy_of(data_dir, tmp_path / "data")
    broken = data / "noise" / "hall" / "broken.wav"
    broken.write_bytes(content)
    assert refusal(data).startswith(f"{broken}: cannot be decoded")


def test_file_without_samples_is_named(data_dir: Path, tmp_path: Path) -> None:
    data = copy_of(data_dir, tmp_path / "data")
    silent = data / "speech" / "train" / "silent.wav"
    soundfile.write(silent, np.zeros(0), 16_000)
    assert refusal(data) == f"{silent}: holds no samples; remove or replace it"


def test_joined_pools_hold_the_clips_of_each_as_often_as_it_is_named(training_audio: TrainingAudio) -> None:
    first, second = training_audio.noise, training_audio.valid_noise
    both = joined([first, second, second])
    assert both.names == first.names + second.names + second.names
    for pool, offset in ((first, 0), (second, len(first.starts)), (second, len(first.starts) + len(second.starts))):
        for clip in range(len(pool.starts)):
            start, length = int(both.starts[offset + clip]), int(both.lengths[offset + clip])
            own = int(pool.starts[clip])
            assert torch.equal(both.samples[start : start + length], pool.samples[own : own + length])
