"""One set of weights from several runs that began from the same: their mean is often better than each.

Wortsman et al. 2022, "Model soups", arXiv 2203.05482.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load

from exdiff_cli.bundle import read_trained
from exdiff_cli.errors import UsageError
from exdiff_cli.training.checkpoint import publish_weights


def average_weights(paths: Sequence[Path], model: str, out: Path) -> None:
    """Write the mean of trained weights of ``model``, extract or diffuse, with the first ones' description.

    ``steps`` and ``seconds`` become the sums over the runs. Raises :class:`UsageError` where they are not of one
    network, or ``out`` exists or cannot be written.
    """
    if len(paths) < 2:
        raise UsageError("train average: name two or more weights")
    if out.exists():
        raise UsageError(f"{out}: exists; name another file")
    trained = [read_trained(path, model) for path in paths]
    weights = [load(content) for content, _ in trained]
    about = dict(trained[0][1])
    shapes = {name: weight.shape for name, weight in weights[0].items()}
    for path, other in zip(paths, weights, strict=True):
        if {name: weight.shape for name, weight in other.items()} != shapes:
            raise UsageError(f"{path}: is of another network than {paths[0]}; only runs of one network have a mean")
    mean = {name: torch.stack([other[name] for other in weights]).mean(0) for name in shapes}
    about |= {name: sum(each.get(name, 0) for _, each in trained) for name in ("steps", "seconds")}
    about["averaged"] = len(paths)
    publish_weights(out, mean, about)
