"""Graphs in 8 bits: near those in float32, for CPUs, and without sums that overflow on older ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recordings import DATA
from typer.testing import CliRunner

from exdiff_cli import bundle as bundle_module
from exdiff_cli import quantise as quantise_module
from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.bundle import PARTS, Bundle, load_bundle, write_bundle
from exdiff_cli.cli import app
from exdiff_cli.enhancer import Enhancer, Piece
from exdiff_cli.errors import UsageError
from exdiff_cli.quantise import IN_FLOAT
from exdiff_cli.settings import DEFAULT_BUNDLE, Precision, Resources, Settings

INT8 = Precision.INT8
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return load_bundle(DEFAULT_BUNDLE)


def enhanced(bundle: Bundle, precision: Precision, samples: Samples, steps: int = 2) -> Samples:
    settings = Settings(replace(bundle.sampler, steps=steps), precision=precision)
    (made,) = Enhancer(bundle, settings, CPU)([Piece(samples, len(samples), 5)])
    return made


def decibels(rough: Samples, exact: Samples) -> float:
    return float(10 * np.log10(np.square(rough - exact).sum() / np.square(exact).sum()))


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("name", ["noisy.wav", "german.opus"])
def test_the_shipped_bundle_gives_nearly_the_same_in_8_bits(shipped: Bundle, name: str, steps: int) -> None:
    samples = read_mono(DATA / name)[:64_000]
    exact = enhanced(shipped, Precision.FLOAT32, samples, steps)
    assert -90 < decibels(enhanced(shipped, Precision.INT8, samples, steps), exact) < -25


def test_a_result_in_8_bits_is_the_same_each_time(shipped: Bundle) -> None:
    samples = read_mono(DATA / "noisy.wav")
    one, other = (enhanced(shipped, Precision.INT8, samples) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_bundle_without_such_graphs_is_refused(bundle: Bundle, shipped: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--precision int8: \S+ has no graphs in 8 bits; leave it out"):
        bundle.computing_in(Precision.INT8)
    half = replace(shipped, quantised={"extract": shipped.quantised["extract"]})
    with pytest.raises(UsageError, match="has no graphs in 8 bits"):
        half.computing_in(Precision.INT8)
    with pytest.raises(UsageError, match="is not for examples"):
        replace(shipped, examples=tmp_path).computing_in(Precision.INT8)


def test_other_graphs_make_other_results(shipped: Bundle) -> None:
    assert shipped.computing_in(Precision.FLOAT32) is shipped
    own = shipped.computing_in(Precision.INT8)
    graph = shipped.quantised["diffuse"]
    others = {**shipped.quantised, "diffuse": replace(graph, content=graph.content + b" ")}
    hashes = {each.weights_sha256 for each in (shipped, own, replace(shipped, quantised=others).computing_in(INT8))}
    assert len(hashes) == 3
    assert shipped.computing_in(INT8).weights_sha256 == own.weights_sha256


def test_it_is_for_cpus() -> None:
    Resources("cpu").check_precision(INT8)
    Resources("cuda").check_precision(Precision.BFLOAT16)
    for device in ("cuda", "cuda:0,cuda:1"):
        with pytest.raises(UsageError, match=f"is for CPUs, not {device}; give --device cpu"):
            Resources(device).check_precision(INT8)


@pytest.mark.parametrize("options", [("--query", "EXAMPLES"), ("--bundle", "BUNDLE"), ("--device", "cuda")])
def test_a_call_that_cannot_be_served_makes_no_folder(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    folders = {"EXAMPLES": str(DATA), "BUNDLE": str(bundle_folder)}
    given = [folders.get(option, option) for option in options]
    device = () if "--device" in options else ("--device", "cpu")
    called = CliRunner().invoke(
        app, ["enhance", str(DATA / "noisy.wav"), "-o", str(tmp_path / "out"), "--precision", "int8", *device, *given]
    )
    assert isinstance(called.exception, UsageError)
    assert str(called.exception).startswith("--precision int8: ")
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_made_without_them_where_there_is_no_audio_to_find_ranges_by(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr(bundle_module, "find_shipped_audio", lambda: tmp_path)
    write_bundle(tmp_path / "b", bundle_folder / "extract.safetensors", bundle_folder / "diffuse.safetensors")
    made = load_bundle(str(tmp_path / "b"))
    assert set(made.graphs) == set(PARTS)
    assert not made.quantised
    assert "no graphs in 8 bits" in caplog.text


def test_nothing_is_written_before_all_is_made(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*about: object) -> None:
        raise KeyboardInterrupt

    pytest.importorskip("onnx")
    monkeypatch.setattr(quantise_module, "quantise", fail)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "b", bundle_folder / "extract.safetensors", bundle_folder / "diffuse.safetensors")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("part", PARTS)
def test_weights_have_7_bits_and_the_ends_stay_in_float(shipped: Bundle, part: str, tmp_path: Path) -> None:
    """Without products of four integers a processor adds two of them in 16 bits: 2 * 255 * 64 fits, twice that not."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(shipped.quantised[part].content).graph
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    quantised = [node for node in graph.node if node.op_type == "QLinearConv"]
    assert len(quantised) == 12
    assert all(np.abs(values[node.input[3]].astype(int)).max() <= 64 for node in quantised)
    in_float = [node.name for node in graph.node if node.op_type == "Conv"]
    assert len(in_float) == 12
    assert all(any(kept in name for kept in IN_FLOAT) for name in in_float)
