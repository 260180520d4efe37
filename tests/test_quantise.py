"""Graphs in 8 bits: near those in float32, for CPUs, and without sums that overflow on older ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import short_settings
from recordings import DATA

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.bundle import PARTS, Bundle, load_bundle
from exdiff_cli.enhancer import Enhancer, Piece
from exdiff_cli.errors import UsageError
from exdiff_cli.quantise import IN_FLOAT
from exdiff_cli.settings import DEFAULT_BUNDLE, Precision, Settings

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


def test_a_bundle_without_such_graphs_says_how_to_get_them(bundle: Bundle) -> None:
    settings = replace(short_settings(bundle), precision=Precision.INT8)
    with pytest.raises(UsageError, match=r"--precision int8: \S+ has no graphs in 8 bits; make it anew"):
        Enhancer(bundle, settings, CPU)


def test_it_is_for_cpus(shipped: Bundle) -> None:
    with pytest.raises(UsageError, match="is for CPUs, not cuda"):
        shipped.ready_on(torch.device("cuda"), Precision.INT8)


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
