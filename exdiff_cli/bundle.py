"""Model bundles: a folder with ``config.toml`` and the two models' weights, found by name, checked by hash."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tomllib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import nn

from exdiff_cli.audio.spectral import SpectralConfig
from exdiff_cli.cuda_graph import CudaDevice, ReplayedScoreNet, ReplayedSeparator, Replays, graphs_wanted
from exdiff_cli.diffuse.generate import SamplerConfig
from exdiff_cli.diffuse.score_net import DataPredictor
from exdiff_cli.errors import BundleError, ExdiffError, UsageError
from exdiff_cli.extract.by_example import ExampleSeparator
from exdiff_cli.extract.resunet import ResUNetConfig
from exdiff_cli.extract.separator import Separator
from exdiff_cli.graph import Graph, can_export, export_graph, is_made_of, stand_in_score_net, stand_in_separator
from exdiff_cli.presets import Preset, build_score_net, find_preset
from exdiff_cli.publish import publish_text
from exdiff_cli.settings import Precision

log = logging.getLogger(__name__)

FORMAT = 1
CONFIG = "config.toml"
PARTS = ("extract", "diffuse")
SHIPPED_AUDIO = "training-audio"
EXAMPLES = "by_example"

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Bundle:
    """Both models, ready to run, and what a report must say of them.

    ``weights_sha256`` covers both weight files, see :meth:`computing_in`; ``sampler`` is the bundle's default.
    ``examples`` is the folder whose sound the separator takes out, if it was asked by one. ``graphs`` are the models'
    own, by part, where there are any, and ``quantised`` those in 8 bits. ``ready_for`` says which device and precision
    the models are ready to run in, and ``replays`` are theirs on a GPU.
    """

    name: str
    folder: Path
    spectral: SpectralConfig
    sampler: SamplerConfig
    separator: Separator
    score_net: DataPredictor
    weights_sha256: str
    examples: Path | None = None
    graphs: Mapping[str, Graph] = field(default_factory=dict)
    quantised: Mapping[str, Graph] = field(default_factory=dict)
    ready_for: tuple[torch.device, Precision] | None = None
    replays: Replays | None = None

    def computing_in(self, precision: Precision) -> Bundle:
        """A bundle whose ``weights_sha256`` covers all that results in ``precision`` depend on.

        In 8 bits that are its graphs too, which differ by more than rounding. Raises :class:`UsageError` where there
        are none.
        """
        if precision is not Precision.INT8:
            return self
        if self.examples is not None:
            raise UsageError("--precision int8: is not for examples, which are asked in float32; leave one of both out")
        if set(self.quantised) != set(PARTS):
            raise UsageError(f"--precision int8: {self.name} has no graphs in 8 bits; leave it out, or name a bundle")
        hashes = [hashlib.sha256(self.quantised[part].content).hexdigest() for part in PARTS]
        return replace(
            self, weights_sha256=hashlib.sha256("".join((self.weights_sha256, *hashes)).encode()).hexdigest()
        )

    def to(self, device: torch.device) -> Bundle:
        """Move both models, in place, and return the bundle."""
        self.separator.to(device)
        self.score_net.to(device)
        return self

    def on(self, device: torch.device) -> Bundle:
        """The same bundle with models of its own on ``device``; weights that are there already are shared.

        Nothing is copied on the device that the models are on, which may have no memory left.
        """
        separator, score_net = _copied(self.separator, device), _copied(self.score_net, device)
        return replace(self, separator=separator, score_net=score_net, ready_for=None, replays=None)

    def ready_on(self, device: torch.device, precision: Precision = Precision.FLOAT32) -> Bundle:
        """A bundle to run on ``device`` in ``precision``, whose models are replaced by what is faster there.

        On a CPU these are the models' graphs, where there are any. They do not follow a change of the models' weights.
        Those in 8 bits have to be there, as :meth:`computing_in` sees to, and run on a CPU alone. Models that are ready
        are not touched: another thread may be running them.
        """
        if self.ready_for == (device, precision):
            return self
        return replace(self._made_ready(device, precision), ready_for=(device, precision))

    def _made_ready(self, device: torch.device, precision: Precision) -> Bundle:
        in_8_bits = precision is Precision.INT8
        assert not in_8_bits or (device.type == "cpu" and self.quantised)
        self.to(device)
        is_bf16 = precision is Precision.BFLOAT16
        if device.type == "cuda":
            if is_bf16:  # As tensor cores read it. Convolutions in float32, for which there are none, would be slower.
                self._lay_channels_last()
            return self._replayed(device) if graphs_wanted() else self
        if is_bf16:  # in which no graph computes
            return self
        self._lay_channels_last()  # A fifth faster, for what has no graph.
        separator, score_net = ((self.quantised if in_8_bits else self.graphs).get(part) for part in PARTS)
        return replace(
            self,
            separator=stand_in_separator(self.separator, separator),
            score_net=stand_in_score_net(self.score_net, score_net),
        )

    def _lay_channels_last(self) -> None:
        for model in (self.separator, self.score_net):
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _replayed(self, device: torch.device) -> Bundle:
        replays = Replays(CudaDevice(device))
        separator, score_net = ReplayedSeparator(self.separator, replays), ReplayedScoreNet(self.score_net, replays)
        return replace(self, separator=separator, score_net=score_net, replays=replays)

    def without_replays(self) -> AbstractContextManager[None]:
        """Let the models themselves run meanwhile."""
        return nullcontext() if self.replays is None else self.replays.paused()

    def release_replays(self) -> bool:
        """Give the memory of CUDA graphs back for good; whether there was any."""
        return self.replays is not None and self.replays.release()


def _copied(model: Model, device: torch.device) -> Model:
    weights: dict[int, object] = {
        id(each): nn.Parameter(each.detach().to(device), requires_grad=False) for each in model.parameters()
    }
    weights |= {id(each): each.to(device) for each in model.buffers()}
    return deepcopy(model, weights)


def model_folders() -> list[Path]:
    """Where bundles ship: inside an installed package, or beside it in a checkout."""
    package = Path(str(files("exdiff_cli")))
    return [folder for folder in (package / "bundled_models", package.parent / "models") if folder.is_dir()]


def find_shipped_audio() -> Path:
    """The folder of clean speech and noise that ships beside the bundles; :class:`BundleError` where it is missing."""
    for folder in (models / SHIPPED_AUDIO for models in model_folders()):
        if folder.is_dir():
            return folder
    raise BundleError(f"the folder {SHIPPED_AUDIO} with clean speech is missing: install exdiff again")


def find_bundles() -> list[Path]:
    """The folders of the bundles that are found by name, in the order of their names, the first of each."""
    found = {path.parent.name: path.parent for folder in model_folders()[::-1] for path in folder.glob(f"*/{CONFIG}")}
    return [found[name] for name in sorted(found)]


def find_bundle(name: str) -> Path:
    """The folder of a bundle, given its name or its path; :class:`BundleError` names what there is."""
    candidates = [Path(name), *(folder / name for folder in model_folders())]
    for candidate in candidates:
        if (candidate / CONFIG).is_file():
            return candidate
    known = [folder.name for folder in find_bundles()]
    raise BundleError(f"no model bundle {name!r}: give one of {', '.join(known) or '(none shipped)'}, or a folder")


def bundle_reference(bundle: Bundle) -> str:
    """What :func:`load_bundle` finds a bundle by from any folder: its name if it ships, otherwise its path."""
    return bundle.name if bundle.folder.parent in model_folders() else os.path.abspath(bundle.folder)


def load_bundle(name: str) -> Bundle:
    """Find, check and load a bundle on the CPU, in evaluation mode. Raises :class:`BundleError`."""
    folder = find_bundle(name)
    config = _read_config(folder / CONFIG)
    try:
        preset = find_preset(config["preset"])
        separator, score_net = _build(preset, *(config[part]["network"] for part in PARTS))
        spectral = build_config(SpectralConfig, config["spectral"])
        sampler = build_config(SamplerConfig, config["diffuse"]["sampler"])
        models: dict[str, nn.Module] = dict(zip(PARTS, (separator, score_net), strict=True))
        hashes = [_load_weights(model, folder, config[part]) for part, model in models.items()]
        graphs, quantised = (_read_graphs(models, folder, config, kind) for kind in ("graph", "int8"))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / CONFIG}: entry {error} is missing or wrong; install the bundle again") from error
    combined = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return Bundle(
        folder.name, folder, spectral, sampler, separator, score_net, combined, graphs=graphs, quantised=quantised
    )


def can_be_asked_by_example(bundle: Bundle) -> bool:
    """Whether :func:`load_example_separator` has something to load."""
    return EXAMPLES in _read_config(bundle.folder / CONFIG)


def load_example_separator(bundle: Bundle) -> tuple[ExampleSeparator, str]:
    """The bundle's separator that is asked by example, and its SHA-256; :class:`UsageError` where it has none."""
    config = _read_config(bundle.folder / CONFIG)
    if EXAMPLES not in config:
        raise UsageError(f"{bundle.name}: cannot be asked by example; make a bundle with --by-example")
    try:
        separator = ExampleSeparator(build_config(ResUNetConfig, config[EXAMPLES]["network"]))
        found = _load_weights(separator, bundle.folder, config[EXAMPLES])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.folder / CONFIG}: entry {error} is missing or wrong; install it again") from error
    return separator, found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); install the bundle again") from error
    if config.get("format") != FORMAT:
        raise BundleError(
            f"{path}: bundle format {config.get('format')}, this exdiff reads {FORMAT}; update one of them"
        )
    return config


def build_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A frozen config from a TOML table, whose arrays stand for tuples."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _build(preset: Preset, extract: Mapping[str, Any], diffuse: Mapping[str, Any]) -> tuple[Separator, DataPredictor]:
    """The untrained networks of a preset, as tables describe them."""
    separator = Separator(build_config(type(preset.separator), extract))
    return separator, build_score_net(build_config(type(preset.score_net), diffuse))


def _load_weights(model: nn.Module, folder: Path, part: Mapping[str, Any]) -> str:
    path = folder / part["file"]
    content = _read_checked(path, part["sha256"])
    _fill(model, content, path)
    return str(part["sha256"])


def _read_graphs(
    models: Mapping[str, nn.Module], folder: Path, config: Mapping[str, Any], kind: str
) -> dict[str, Graph]:
    """Those of a kind that the config names, by part."""
    parts = {part: model for part, model in models.items() if kind in config[part]}
    return {part: _read_graph(model, folder, config[part], kind) for part, model in parts.items()}


def _read_graph(model: nn.Module, folder: Path, part: Mapping[str, Any], kind: str) -> Graph:
    path = folder / part[kind]
    content = _read_checked(path, part[f"{kind}_sha256"])
    if not is_made_of(content, part["sha256"]):
        raise BundleError(f"{path}: was not made of the weights in {part['file']}; install the bundle again")
    return Graph(content, model, str(path))


def _read_checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); install the bundle again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleError(
            f"{path}: is not the file that {CONFIG} names (SHA-256 {found[:12]}…); install the bundle again"
        )
    return content


def _fill(model: nn.Module, content: bytes, path: Path) -> None:
    """Load weights, for evaluation."""
    try:
        model.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise BundleError(f"{path}: does not fit its network ({first}); install the bundle again") from error
    model.eval().requires_grad_(False)


def write_bundle(
    folder: Path,
    extract: Path,
    diffuse: Path,
    sampler: SamplerConfig | None = None,
    by_example: Path | None = None,
    with_graphs: bool = True,
) -> None:
    """Make a bundle of trained weight files, whose metadata describe their networks.

    Graphs of the networks are made beside them if the package onnx is there, in float32 and in 8 bits. Nothing is
    written before all is made, and the config last, so that an unfinished bundle is never found.
    """
    parts = {"extract": read_trained(extract, "extract"), "diffuse": read_trained(diffuse, "diffuse")}
    preset = parts["extract"][1].get("preset", "small")
    if preset != parts["diffuse"][1].get("preset", "small"):
        raise UsageError(f"{extract} and {diffuse}: are of different presets; train Diffuse on this Extract")
    if by_example is not None:
        parts[EXAMPLES] = read_trained(by_example, EXAMPLES)
    tables: dict[str, dict[str, Any]] = {"spectral": asdict(find_preset(preset).spectral)}
    written: dict[str, bytes] = {}
    for part, (content, about) in parts.items():
        written[f"{part}.safetensors"] = content
        tables[part] = {"file": f"{part}.safetensors", "sha256": hashlib.sha256(content).hexdigest()}
        tables[f"{part}.network"] = about["config"]
    tables["diffuse.sampler"] = asdict(sampler) if sampler else parts["diffuse"][1]["sampler"]
    of_diffuse = build_config(SamplerConfig, tables["diffuse.sampler"])
    for (part, kind), graph in (_graphs(find_preset(preset), parts, of_diffuse) if with_graphs else {}).items():
        name = f"{part}.onnx" if kind == "graph" else f"{part}.{kind}.onnx"
        written[name] = graph
        tables[part] |= {kind: name, f"{kind}_sha256": hashlib.sha256(graph).hexdigest()}
    for name, content in written.items():
        _write(folder / name, content)
    head = f'format = {FORMAT}\npreset = "{preset}"\n'
    publish_text(folder / CONFIG, head + "".join(_toml_table(*item) for item in tables.items()))


def _graphs(
    preset: Preset, trained: Mapping[str, tuple[bytes, Mapping[str, Any]]], sampler: SamplerConfig
) -> dict[tuple[str, str], bytes]:
    """Graphs of both networks, by part and kind, made of their weights.

    There are none of the preset ``base``, none without the package, and none in 8 bits without the audio that ships.
    """
    from exdiff_cli.quantise import quantise  # It reads audio: to run a bundle need not load FFmpeg for that.

    if not can_export():
        log.warning("no graphs of the models: pip install onnx, and a bundle of the preset small is faster on a CPU")
        return {}
    made: list[Graph] = []
    for part, model in zip(PARTS, _build(preset, *(trained[part][1]["config"] for part in PARTS)), strict=True):
        content = trained[part][0]
        _fill(model, content, Path(f"{part}.safetensors"))
        graph = export_graph(model, hashlib.sha256(content).hexdigest())
        if graph is None:
            return {}
        made.append(Graph(graph, model))
    plain = {(part, "graph"): graph.content for part, graph in zip(PARTS, made, strict=True)}
    try:
        in_8_bits = quantise(made[0], made[1], preset.spectral, sampler, find_shipped_audio())
    except ExdiffError as error:
        log.warning("no graphs in 8 bits, for --precision int8: %s", error)
        return plain
    return plain | {(part, "int8"): content for part, content in zip(PARTS, in_8_bits, strict=True)}


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another folder") from error


def read_trained(path: Path, model: str) -> tuple[bytes, dict[str, Any]]:
    """The content of a trained weights file and its metadata; :class:`UsageError` if it is none of ``model``."""
    try:
        with safe_open(path, framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get("exdiff", "{}"))
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as trained weights ({error}); give a *.safetensors file") from error
    if about.get("model") != model:
        raise UsageError(f"{path}: holds {about.get('model', 'unknown')} weights; give those of {model}")
    return path.read_bytes(), about


def _toml_table(name: str, values: Mapping[str, Any]) -> str:
    """A flat TOML table; JSON's notation of strings, numbers, booleans and arrays is TOML's too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["", f"[{name}]", *lines, ""])
