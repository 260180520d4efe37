"""Graphs whose convolutions multiply integers of 8 bits, which a CPU that has such products does in less time.

A graph is quantised for the range of values that noisy talk gives each of its convolutions. Like graphs, these are made
with a bundle, by the package onnx; running them does not need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exdiff_cli.audio.mono import read_mono
from exdiff_cli.audio.recording import Samples
from exdiff_cli.audio.spectral import LEVEL_RMS, SpectralConfig, analyse
from exdiff_cli.diffuse.generate import SamplerConfig, generate, seeded_noise
from exdiff_cli.diffuse.score_net import ScoreNet
from exdiff_cli.errors import BundleError
from exdiff_cli.extract.separator import Separator
from exdiff_cli.graph import Graph, GraphNetwork, GraphScoreNet, GraphSeparator
from exdiff_cli.settings import Settings

IN_FLOAT = ("downs.0", "head", "shortcut")
"""Convolutions that stay as they are: the first and last, whose rounding is heard most, and those that cost little."""

DECIBELS = (20.0, 10.0, 5.0, 0.0, -5.0)
"""Of talk over noise, in the recordings that ranges are taken of."""

SEGMENT = Settings.segment
STEPS = 4

Inputs = dict[str, NDArray[np.float32]]


class _Noting(GraphNetwork):
    """A graph that keeps whatever it is given."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.given: list[Inputs] = []

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        self.given.append({name: each.numpy().copy() for name, each in zip(self.names, inputs, strict=True)})
        return super().__call__(*inputs)


def quantise(
    extract: Graph, diffuse: Graph, spectral: SpectralConfig, sampler: SamplerConfig, audio: Path
) -> tuple[bytes, bytes]:
    """Both graphs in 8 bits; ``audio`` is the folder of clean speech and noise that ships.

    Needs the package onnx. Raises RecordingError where the audio cannot be read, BundleError where there is none.
    """
    assert isinstance(extract.network, Separator)
    assert isinstance(diffuse.network, ScoreNet)
    noting = _Noting(extract), _Noting(diffuse)
    separator, score_net = GraphSeparator(extract.network, noting[0]), GraphScoreNet(diffuse.network, noting[1])
    more_times = replace(sampler, steps=STEPS)
    with torch.inference_mode():
        for seed, mixture in enumerate(_mixtures(audio)):
            spectrum = analyse(torch.from_numpy(mixture)[None], spectral)
            speech, *_ = (separator(spectrum, torch.tensor([query])) for query in range(len(separator.queries.names)))
            noise = seeded_noise([seed], (spectrum.shape[1], spectrum.shape[2]), spectrum.device)
            generate(score_net, spectrum, speech, more_times, noise)
    one, other = (_quantised(graph.content, note.given) for graph, note in zip((extract, diffuse), noting, strict=True))
    return one, other


def _mixtures(audio: Path) -> Iterator[Samples]:
    """Talk in noise at the models' level, ``(SEGMENT,)`` each."""
    talk, noises = (sorted((audio / kind).rglob("*.opus")) for kind in ("speech/valid", "noise"))
    if not (talk and noises):
        raise BundleError(f"{audio}: holds no speech or no noise: install exdiff again")
    for index, decibels in enumerate(DECIBELS):
        clean, noise = (
            np.resize(read_mono(paths[index % len(paths)]), SEGMENT).astype(np.float64) for paths in (talk, noises)
        )
        mixture = clean / clean.std() + 10 ** (-decibels / 20) * noise / noise.std()
        yield (LEVEL_RMS * mixture / mixture.std()).astype(np.float32)


def _quantised(content: bytes, given: Sequence[Inputs]) -> bytes:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # Of ONNX Runtime, which has no types.
        def __init__(self) -> None:
            self._left = iter(given)

        def get_next(self) -> Mapping[str, NDArray[np.float32]] | None:
            return next(self._left, None)

    model = onnx.load_from_string(content)
    with TemporaryDirectory(prefix="exdiff-graph-") as folder:
        plain, written = Path(folder, "plain.onnx"), Path(folder, "quantised.onnx")
        quant_pre_process(model, plain, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(plain).graph.node if node.op_type == "Conv"]
        quantize_static(
            plain,
            written,
            Reader(),
            quant_format=QuantFormat.QOperator,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[name for name in convolutions if any(part in name for part in IN_FLOAT)],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # Of weights, to 7 bits: older processors add two products in 16.
        )
        made = onnx.load(written)
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)  # Of which weights it is.
    return bytes(made.SerializeToString(deterministic=True))
