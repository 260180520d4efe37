"""The bundles that there are: are they whole, and what are they."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Column, Table
from rich.text import Text

from exdiff_cli.bundle import can_be_asked_by_example, find_bundles, load_bundle, load_example_separator
from exdiff_cli.errors import BundleError
from exdiff_cli.extract.resunet import count_parameters
from exdiff_cli.text import printable


@dataclass(frozen=True)
class ModelFacts:
    """One bundle; of a broken one only its place and what is wrong, ``problem``, are known.

    ``sample_rate`` is in Hertz, ``steps`` the default, ``parameters`` those of both models; ``graphs`` names the models
    that run on a CPU as graphs.
    """

    name: str
    folder: str
    problem: str | None = None
    sample_rate: int | None = None
    steps: int | None = None
    parameters: int | None = None
    by_example: bool | None = None
    weights_sha256: str | None = None
    graphs: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, object]:
        return {"message_type": "model", **asdict(self)}


def list_models() -> list[ModelFacts]:
    """Every bundle that is found by name, with the hashes of its weights checked."""
    return [read_model(folder) for folder in find_bundles()]


def read_model(folder: Path) -> ModelFacts:
    """Load one bundle, hashes and all."""
    try:
        bundle = load_bundle(str(folder))
        by_example = can_be_asked_by_example(bundle)
        if by_example:
            load_example_separator(bundle)
    except BundleError as error:
        return ModelFacts(folder.name, str(folder), problem=str(error))
    return ModelFacts(
        bundle.name,
        str(folder),
        sample_rate=bundle.spectral.sample_rate,
        steps=bundle.sampler.steps,
        parameters=count_parameters(bundle.separator) + count_parameters(bundle.score_net),
        by_example=by_example,
        weights_sha256=bundle.weights_sha256,
        graphs=tuple(bundle.graphs),
    )


def models_table(models: list[ModelFacts]) -> Table:
    """A row a bundle."""
    hexadecimal = Column("SHA-256", no_wrap=True)
    table = Table(
        Column("bundle", overflow="fold"),
        "rate",
        "steps",
        "weights",
        "by example",
        hexadecimal,
        Column("state", overflow="fold"),
    )
    for model in models:
        name = Text(printable(model.name))
        if model.problem:
            table.add_row(name, *[""] * 5, Text(printable(model.problem)))
            continue
        facts = (f"{model.sample_rate} Hz", str(model.steps), f"{(model.parameters or 0) / 1e6:.2f} M")
        table.add_row(name, *facts, "yes" if model.by_example else "no", str(model.weights_sha256)[:12], "ok")
    return table
