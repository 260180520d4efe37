"""The ``small`` networks as ONNX graphs, which ONNX Runtime runs on a CPU in about 60 % of torch's time.

A graph holds what is costly: Extract's network, and what Diffuse computes in each step. Spectra, masks and the
condition, which are complex or made once a batch, stay in torch. Graphs are made with a bundle, by the package onnx;
running them does not need it.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exdiff_cli.diffuse.attention import LatentAttention, Memory
from exdiff_cli.diffuse.score_net import Condition, DataPredictor, ScoreNet
from exdiff_cli.errors import BundleError
from exdiff_cli.extract.resunet import ResUNet
from exdiff_cli.extract.separator import FEATURES, Extraction, Separator, separate
from exdiff_cli.measures.packaged import cpu_session

BINS, EXAMPLE_FRAMES, EXAMPLE_BATCH = 256, 70, 2
"""What is traced; frames and batch are free, and neither is 1, which would be taken for broadcasting."""

OPSET = 17
EXPECTED_WARNINGS = (
    "You are using the legacy TorchScript-based ONNX export",  # The newer exporter needs more packages.
    "The feature will be removed",
    "Converting a tensor to a Python boolean",  # Checks of layers of their inputs' shapes.
    "Exporting a model to ONNX with a batch_size other than 1",  # Initial states are made for the batch that comes.
    "Constant folding - Only steps=1",
)
SHORTAGES = ("Failed to allocate memory", "bad_alloc")
"""What ONNX Runtime says where memory runs out."""

WEIGHTS_KEY = "weights_sha256"
FREE = {0: "batch", 3: "frames"}


@dataclass(frozen=True, eq=False)
class Graph:
    """The content of an ONNX file, the network, as it was loaded, that it stands for, and which ``file`` that is."""

    content: bytes
    network: nn.Module
    file: str = "a graph of a model"


class GraphNetwork:
    """A graph, ready to run on the CPU by several threads at once; each call takes as many cores as torch has now.

    Raises :class:`BundleError` for a graph of another kind than the installed ONNX Runtime reads.
    """

    def __init__(self, graph: Graph) -> None:
        try:
            self._session = cpu_session(graph.content, torch.get_num_threads(), spin=False)
        except Exception as error:  # Those of ONNX Runtime have no class in common.
            reason = str(error).splitlines()[0]
            raise BundleError(f"{graph.file}: cannot be run ({reason}); update onnxruntime, or exdiff") from error
        self.names = [each.name for each in self._session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The graph's outputs for its inputs, in their order."""
        given = {name: each.numpy() for name, each in zip(self.names, inputs, strict=True)}
        try:
            made = self._session.run(None, given)
        except Exception as error:  # ONNX Runtime's own have no common kind but this
            if any(words in str(error) for words in SHORTAGES):
                raise MemoryError("too little memory for a graph") from None
            raise
        return [torch.from_numpy(each) for each in made]


class GraphSeparator(Separator):
    """A separator whose network is a graph; the queries are the separator's own."""

    def __init__(self, separator: Separator, graph: GraphNetwork) -> None:
        nn.Module.__init__(self)
        self.queries = separator.queries
        self._graph = graph

    def forward(self, mixture: Tensor, query: Tensor) -> Extraction:
        return separate(self._run, mixture, self.queries(query))

    def _run(self, features: Tensor, wanted: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        channels, *latents = self._graph(features, wanted)
        return channels, tuple(latents)


class GraphScoreNet(ScoreNet):
    """A score network whose steps are a graph; what makes the condition is the network's own."""

    def __init__(self, net: ScoreNet, graph: GraphNetwork) -> None:
        nn.Module.__init__(self)
        self.config = net.config
        self.concatenate_estimate, self.attend_latents = net.concatenate_estimate, net.attend_latents
        self.tokens, self.attentions, self.fine = net.tokens, net.attentions, net.fine
        self._graph = graph

    def correct(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self._graph(x, t, *_plain(condition))[0]


def stand_in_separator(separator: Separator, graph: Graph | None) -> Separator:
    """The separator as a graph, or itself where the graph is another one's or there is none."""
    return GraphSeparator(separator, GraphNetwork(graph)) if graph and graph.network is separator else separator


def stand_in_score_net(net: DataPredictor, graph: Graph | None) -> DataPredictor:
    """As :func:`stand_in_separator`."""
    if not graph or graph.network is not net or not isinstance(net, ScoreNet):
        return net
    return GraphScoreNet(net, GraphNetwork(graph))


def _plain(condition: Condition) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a condition, what a step looks at."""
    (memory,), fine = condition.memories, condition.fine
    assert fine is not None
    return memory.keys, memory.values, memory.open, fine


# --- making graphs ------------------------------------------------------------------------------------------


def can_export() -> bool:
    """Whether the package that writes graphs is installed."""
    return find_spec("onnx") is not None


def export_graph(network: nn.Module, weights_sha256: str) -> bytes | None:
    """The content of an ONNX file for a loaded network, which says of which weights file it was made.

    None for the networks of the preset ``base``. Needs the package onnx: :func:`can_export`.
    """
    with torch.no_grad():
        if isinstance(network, ScoreNet):
            return _export_step(copy.deepcopy(network).eval(), weights_sha256)
        if isinstance(network, Separator) and isinstance(network.network, ResUNet):
            return _export_unet(copy.deepcopy(network.network).eval(), weights_sha256)
    return None


def _export_unet(unet: ResUNet, weights_sha256: str) -> bytes:
    features = torch.randn(EXAMPLE_BATCH, FEATURES, BINS, EXAMPLE_FRAMES)
    example = (features, torch.randn(EXAMPLE_BATCH, unet.config.query_size))
    _replace_transposed(unet)
    outputs = ("channels", "bottleneck", "decoded", "finest")
    return _export(unet, example, {"features": FREE, "query": {0: "batch"}}, outputs, weights_sha256)


def _export_step(net: ScoreNet, weights_sha256: str) -> bytes:
    example = _step_example(net)
    _replace_transposed(net.trunk)
    net.attentions = nn.ModuleList(_LeanAttention(cast(LatentAttention, layer)) for layer in net.attentions)
    batch, windows, opened = {0: "batch"}, {0: "batch", 2: "windows"}, {0: "batch", 1: "windows"}
    free = {"features": FREE, "time": batch, "keys": windows, "values": windows, "open": opened, "fine": FREE}
    return _export(_Step(net), example, free, ("channels",), weights_sha256)


class _Step(nn.Module):
    """:meth:`ScoreNet.correct` with plain tensors for the condition."""

    def __init__(self, net: ScoreNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, keys: Tensor, values: Tensor, opened: Tensor, fine: Tensor) -> Tensor:
        return self.net.correct(x, t, Condition(x, x, (Memory(keys, values, opened),), fine))


def _step_example(net: ScoreNet) -> tuple[Tensor, ...]:
    shape, config = (EXAMPLE_BATCH, BINS, EXAMPLE_FRAMES), net.config
    state, mixture, estimate = (torch.randn(shape, dtype=torch.complex64) for _ in range(3))
    grids = (*zip(config.latent_channels, config.latent_bands, strict=True), (config.fine_channels, BINS // 2))
    latents = tuple(torch.randn(EXAMPLE_BATCH, *grid, EXAMPLE_FRAMES) for grid in grids)
    condition = net.condition(mixture, Extraction(estimate, latents))
    features = net.features(net.sources(state, condition))
    return features, torch.rand(EXAMPLE_BATCH), *_plain(condition)


class _TwoConvolutions(nn.Module):
    """A transposed convolution (4, 3), stride (2, 1), padding (1, 1), as a plain one for even and one for odd rows.

    ONNX Runtime's own kernel for it takes twice as long.
    """

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        super().__init__()
        kernel = transposed.weight.detach().flip(3).transpose(0, 1)
        self.even = nn.Parameter(kernel[:, :, [3, 1]], requires_grad=False)
        self.odd = nn.Parameter(kernel[:, :, [2, 0]], requires_grad=False)
        self.bias = transposed.bias

    def forward(self, x: Tensor) -> Tensor:
        even = F.conv2d(x, self.even, self.bias, padding=1)[:, :, :-1]
        odd = F.conv2d(x, self.odd, self.bias, padding=1)[:, :, 1:]
        return torch.stack((even, odd), dim=3).flatten(2, 3)


CLOSED = -1e4
"""Added to the logarithm of a weight: the weight is exactly 0."""


class _LeanAttention(LatentAttention):
    """Closes tokens by one more entry of their keys: a mask would be four more passes over all weights."""

    def __init__(self, layer: LatentAttention) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(layer.__dict__)

    def weigh(self, queries: Tensor, keys: Tensor, values: Tensor, opened: Tensor) -> Tensor:
        closed = CLOSED * (1 - opened.float())[:, None, :, :, None].expand(*keys.shape[:-1], 1)
        queries = torch.cat((queries * queries.shape[-1] ** -0.5, torch.ones_like(queries[..., :1])), dim=-1)
        return (queries @ torch.cat((keys, closed), dim=-1).transpose(-1, -2)).softmax(-1) @ values


def _replace_transposed(unet: ResUNet) -> None:
    for module in list(unet.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ConvTranspose2d):
                setattr(module, name, _TwoConvolutions(child))


def _export(
    network: nn.Module,
    example: tuple[Tensor, ...],
    free: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
    weights_sha256: str,
) -> bytes:
    import onnx

    written = io.BytesIO()
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        torch.onnx.export(
            network,
            example,
            written,  # type: ignore[arg-type]  # Its types know paths alone.
            dynamo=False,
            opset_version=OPSET,
            input_names=list(free),
            output_names=list(outputs),
            dynamic_axes={**free, **dict.fromkeys(outputs, FREE)},
        )
    model = onnx.load_from_string(written.getvalue())
    model.metadata_props.add(key=WEIGHTS_KEY, value=weights_sha256)
    return bytes(model.SerializeToString(deterministic=True))


def is_made_of(content: bytes, weights_sha256: str) -> bool:
    """Whether a graph says that it was made of these weights; found without a session, or the package onnx."""
    return weights_sha256.encode() in content
