"""Graphs: they compute what the networks do, for any length and batch, and belong to their weights."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import make_bundle, refusal, short_settings
from recordings import DATA
from torch import Tensor

from exdiff_cli import bundle as module
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.spectral import LEVEL_RMS, analyse
from exdiff_cli.bundle import Bundle, load_bundle, write_bundle
from exdiff_cli.enhancer import Enhancer, Piece
from exdiff_cli.errors import BundleError
from exdiff_cli.graph import Graph, GraphNetwork, GraphScoreNet, GraphSeparator
from exdiff_cli.settings import DEFAULT_BUNDLE, Settings

CPU = torch.device("cpu")
TOLERANCE = 1e-4
"""Of compressed spectra, whose speech is about 1."""


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(DEFAULT_BUNDLE)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    return make_bundle(tmp_path_factory.mktemp("graphs"), with_graphs=True)


@pytest.fixture
def own(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "own"))


def speech(length: int, batch: int) -> Tensor:
    """Noisy talk at the models' level, from another place in every row."""
    talk = np.concatenate([read_mono(DATA / name) for name in ("noisy.wav", "german.opus")])
    rows = torch.from_numpy(np.stack([np.resize(np.roll(talk, -5000 * row), length) for row in range(batch)]))
    return rows * (LEVEL_RMS / rows.square().mean(dim=1, keepdim=True).sqrt())


@torch.inference_mode()
def computed(bundle: Bundle, length: int, batch: int) -> tuple[Tensor, ...]:
    """The estimate and its latents, and the prediction of a step from a noisy state."""
    spectrum = analyse(speech(length, batch), bundle.spectral)
    extraction = bundle.separator(spectrum, torch.zeros(batch, dtype=torch.long))
    keep = torch.arange(batch) != 1
    condition = bundle.score_net.condition(spectrum, extraction, keep)
    noise = torch.randn(spectrum.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    times = torch.linspace(0.5, 0.25, batch)
    step = bundle.score_net(extraction.estimate + 0.02 * noise, times, condition)
    return extraction.estimate, step, *extraction.latents


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "config.toml").read_text()
    assert old in text
    (folder / "config.toml").write_text(text.replace(old, new, 1))


# --- they compute what the networks do ----------------------------------------------------------------------


@pytest.mark.parametrize(("length", "batch"), [(32_768, 1), (49_152, 3), (81_920, 1), (131_072, 1), (16_000, 2)])
def test_graphs_of_the_shipped_bundle_agree_with_its_networks(shipped: Bundle, length: int, batch: int) -> None:
    ready = shipped.ready_on(CPU)
    assert isinstance(ready.separator, GraphSeparator)
    assert isinstance(ready.score_net, GraphScoreNet)
    found, wanted = computed(ready, length, batch), computed(shipped, length, batch)
    for one, other in zip(found[:2], wanted[:2], strict=True):
        assert (one - other).abs().max() < TOLERANCE
    for one, other in zip(found[2:], wanted[2:], strict=True):
        assert (one - other).abs().max() < 1e-3 * other.abs().max()


@pytest.mark.parametrize("frames", [1, 3, 64, 65, 130])
def test_written_graphs_agree_with_their_networks(tiny_folder: Path, frames: int) -> None:
    bundle = load_bundle(str(tiny_folder))
    length = frames * bundle.spectral.hop - 1
    found, wanted = computed(bundle.ready_on(CPU), length, 2), computed(bundle, length, 2)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=1e-3)


def test_enhanced_speech_is_the_same_but_for_rounding(shipped: Bundle) -> None:
    samples = read_mono(DATA / "noisy.wav")
    pieces = [Piece(samples, len(samples), 5)]
    settings = Settings(shipped.sampler)
    (found,), (wanted,) = (Enhancer(each, settings, CPU)(pieces) for each in (shipped, replace(shipped, graphs={})))
    assert np.abs(found - wanted).max() < 1e-4
    assert not np.array_equal(found, samples)


def test_threads_side_by_side_get_the_same_bits(shipped: Bundle) -> None:
    ready = shipped.ready_on(CPU)
    alone = computed(ready, 32_768, 1)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda _: computed(ready, 32_768, 1), range(4)))
    for found in together:
        assert all(torch.equal(one, other) for one, other in zip(found, alone, strict=True))


def test_the_layout_of_what_is_given_changes_nothing(shipped: Bundle) -> None:
    network = GraphNetwork(shipped.graphs["extract"])
    features = torch.randn(1, 3, 256, 20, generator=torch.Generator().manual_seed(2))
    query = shipped.separator.queries.embeddings[:1].detach()
    found = network(features.contiguous(memory_format=torch.channels_last), query)
    assert all(torch.equal(one, other) for one, other in zip(found, network(features, query), strict=True))


def test_a_graph_stands_for_no_other_network(shipped: Bundle) -> None:
    """As where a separator is asked by example."""
    other = copy.deepcopy(shipped.separator)
    ready = replace(shipped, separator=other).ready_on(CPU)
    assert ready.separator is other
    assert isinstance(ready.score_net, GraphScoreNet)


# --- bundles with and without -------------------------------------------------------------------------------


def test_a_bundle_without_graphs_runs(bundle: Bundle) -> None:
    assert not bundle.graphs
    samples = read_mono(DATA / "noisy.wav")[:20_000]
    (made,) = Enhancer(bundle, short_settings(bundle), CPU)([Piece(samples, len(samples), 0)])
    assert made.shape == samples.shape
    assert np.isfinite(made).all()


def test_graphs_change_no_hash_of_the_weights(tiny_folder: Path, bundle: Bundle) -> None:
    assert load_bundle(str(tiny_folder)).weights_sha256 == bundle.weights_sha256


def test_the_same_weights_make_the_same_graphs(tiny_folder: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again", tiny_folder / "extract.safetensors", tiny_folder / "diffuse.safetensors")
    names = {path.name for path in tiny_folder.glob("*.onnx")}
    assert names == {"extract.onnx", "diffuse.onnx", "extract.int8.onnx", "diffuse.int8.onnx"}
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tiny_folder / name).read_bytes()


def test_without_the_package_there_are_none(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "can_export", lambda: False)
    with caplog.at_level(logging.WARNING):
        write_bundle(tmp_path / "b", tiny_folder / "extract.safetensors", tiny_folder / "diffuse.safetensors")
    assert "pip install onnx" in caplog.text
    assert not load_bundle(str(tmp_path / "b")).graphs
    assert not list((tmp_path / "b").glob("*.onnx"))


# --- damage -------------------------------------------------------------------------------------------------


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "diffuse.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "diffuse.onnx").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_byte, ("diffuse.onnx", "SHA-256")),
        (lambda folder: (folder / "extract.onnx").unlink(), ("extract.onnx", "No such file")),
        (lambda folder: (folder / "diffuse.int8.onnx").unlink(), ("diffuse.int8.onnx", "No such file")),
        (lambda folder: edit(folder, "graph_sha256", "graph_sha1"), ("graph_sha256", "missing or wrong")),
    ],
)
def test_damage_is_one_line(own: Path, damage: Callable[[Path], object], words: tuple[str, ...]) -> None:
    damage(own)
    message = refusal(own)
    assert all(word in message for word in words)


def test_a_graph_of_other_weights_is_refused(own: Path, tmp_path: Path) -> None:
    """Though the config names it."""
    other = make_bundle(tmp_path / "other", seed=5, with_graphs=True)
    shutil.copy(other / "extract.onnx", own / "extract.onnx")
    edit(own, graph_hash(own), graph_hash(other))
    message = refusal(own)
    assert "extract.onnx" in message
    assert "weights in extract.safetensors" in message


def test_a_graph_that_cannot_be_run_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"of\.onnx: cannot be run \([^\n]+; update onnxruntime"):
        GraphNetwork(Graph(b"no graph", bundle.separator, "of.onnx"))


def graph_hash(folder: Path) -> str:
    """The first one in a config: that of Extract."""
    return (folder / "config.toml").read_text().split('graph_sha256 = "')[1][:64]


@pytest.mark.parametrize("words", ["bfc_arena.cc Failed to allocate memory for requested buffer", "std::bad_alloc"])
def test_a_graph_that_runs_out_of_memory_says_so_as_python_does(shipped: Bundle, words: str) -> None:
    """What divides batches, and lets the others go on, knows it then."""

    class Full:
        def run(self, *given: object) -> None:
            raise ShortageError(words)

    class ShortageError(Exception):
        """As ONNX Runtime's own: a kind of nothing else."""

    network = GraphNetwork(shipped.graphs["extract"])
    network._session = Full()
    features = torch.zeros(1, 3, 256, 4)
    with pytest.raises(MemoryError):
        network(features, torch.zeros(1, 32))
