"""What several test files share: tiny networks and a tiny data directory.

Imports of torch lie in the fixtures, so that test files which need none start quickly.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from machine import Machine

    from exdiff_cli.bundle import Bundle
    from exdiff_cli.diffuse.score_net import ScoreNet
    from exdiff_cli.extract.separator import Separator
    from exdiff_cli.training.pool import TrainingAudio

CLIPS = Path(__file__).parent / "data"
SPEECH_CLIPS = 10
NOISE_CLIPS = 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the extra `eval`, which takes a C compiler, where it is not installed."""
    if find_spec("pesq") and find_spec("pystoi"):
        return
    for item in items:
        if item.get_closest_marker("eval"):
            item.add_marker(pytest.mark.skip(reason="needs the extra `eval`"))


@pytest.fixture(autouse=True)
def forgotten_verbosity() -> Iterator[None]:
    """What a call in a test was told, as ``-q``, is not told to the calls of later ones."""
    ours = logging.getLogger("exdiff_cli")
    level = ours.level
    yield
    ours.setLevel(level)


def _write_speech(folder: Path) -> None:
    """Cut real speech into clips, no two of the same length, so that a length tells which clip it is."""
    talk = np.concatenate([soundfile.read(CLIPS / name)[0] for name in ("clean.wav", "german.opus")])
    position = 4000
    for number in range(SPEECH_CLIPS):
        length = 5000 + 64 * number
        soundfile.write(folder / f"talk{number}.wav", talk[position : position + length], 16_000)
        position += length


def _write_noise(folder: Path) -> None:
    """Noise of eight colours in two folders, no two recordings of the same length either."""
    random = np.random.default_rng(0)
    for number in range(NOISE_CLIPS):
        white = random.standard_normal(12_000 + 64 * number)
        coloured = np.convolve(white, random.standard_normal(8), mode="same")
        kind = folder / ("hall" if number % 2 else "street")
        kind.mkdir(exist_ok=True)
        soundfile.write(kind / f"noise{number}.flac", 0.2 * coloured / np.abs(coloured).max(), 16_000)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory to train on: ten clips of speech, one for validation, eight noises."""
    root = tmp_path_factory.mktemp("training") / "data"
    for part in ("speech/train", "speech/valid", "noise"):
        (root / part).mkdir(parents=True)
    _write_speech(root / "speech" / "train")
    _write_noise(root / "noise")
    soundfile.write(root / "speech" / "valid" / "sentence.wav", *soundfile.read(CLIPS / "clean.wav"))
    return root


@pytest.fixture(scope="session")
def training_audio(data_dir: Path) -> TrainingAudio:
    """:func:`data_dir`, loaded as for Diffuse."""
    from exdiff_cli.training.pool import load_training_audio

    return load_training_audio(data_dir, for_diffuse=True)


@pytest.fixture
def tiny_separator() -> Separator:
    """Extract's ``small`` structure at a hundredth of its size, with weights that are nowhere at rest."""
    import torch

    from exdiff_cli.extract.resunet import ResUNetConfig
    from exdiff_cli.extract.separator import Separator

    torch.manual_seed(0)
    config = ResUNetConfig(channels=(4, 4, 4, 4, 8), hidden=4, dual_path_blocks=1, query_size=4)
    separator = Separator(config)
    with torch.no_grad():
        for parameter in separator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return separator


@pytest.fixture
def tiny_score_net() -> ScoreNet:
    """Diffuse's ``small`` structure, fitted to :func:`tiny_separator`, with its weights as initialised."""
    import torch
    from bundles import DIFFUSE

    from exdiff_cli.diffuse.score_net import ScoreNet

    torch.manual_seed(1)
    return ScoreNet(DIFFUSE)


@pytest.fixture
def lively_score_net(tiny_score_net: ScoreNet) -> ScoreNet:
    """:func:`tiny_score_net` with every weight moved, so that nothing is zero any more."""
    import torch

    with torch.no_grad():
        for parameter in tiny_score_net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for parameter in tiny_score_net.trunk.head.parameters():
            parameter.mul_(0.1)  # Masks near one would let the state grow from step to step.
    return tiny_score_net


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of untrained networks that do change what they are given."""
    from bundles import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    """:func:`bundle_folder`, loaded."""
    from exdiff_cli.bundle import load_bundle

    return load_bundle(str(bundle_folder))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A noisy and a clean folder of one pair."""
    for kind in ("noisy", "clean"):
        (tmp_path / kind).mkdir()
        shutil.copy(CLIPS / f"{kind}.wav", tmp_path / kind / "p257_054.wav")
    return tmp_path / "noisy", tmp_path / "clean"


@pytest.fixture(scope="module")
def exdiff(bundle_folder: Path) -> Iterator[str]:
    """The text of a program `exdiff` that starts at once."""
    import exdiff_server

    with TemporaryDirectory() as folder:  # Not tmp_path: the address of a socket has to be short.
        address = Path(folder) / "exdiff"
        server = subprocess.Popen([sys.executable, exdiff_server.__file__, address, bundle_folder])
        try:
            while not address.exists():
                assert server.poll() is None
                time.sleep(0.05)
            yield exdiff_server.CLIENT.format(python=sys.executable, address=str(address))
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def machine(tmp_path: Path, exdiff: str) -> Machine:
    """A machine with two calls, and the programs that recipes name."""
    from machine import SBATCH, Machine
    from recordings import store

    made = Machine(tmp_path)
    for name, text in {"exdiff": exdiff, "sbatch": SBATCH, "systemctl": "#!/bin/sh\n"}.items():
        program = tmp_path / "usr/local/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    for folder in ("srv", "var/log", "etc/bash_completion.d"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("one.wav", "sub/two words.wav"):
        store(tmp_path / "srv/calls" / name, 0.6)
    return made
