"""The mean of several runs' weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundles import EXTRACT, save_trained
from safetensors.torch import load_file
from torch import nn

from exdiff_cli.bundle import read_trained
from exdiff_cli.errors import UsageError
from exdiff_cli.training.average import average_weights
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.run import begin
from exdiff_cli.training.trainer import TrainOptions


def runs(folder: Path) -> list[Path]:
    paths = []
    for number in range(3):
        torch.manual_seed(number)
        about = {"model": "extract", "config": {"hidden": 4}, "steps": 10 + number, "seconds": 100}
        paths.append(save_trained(nn.Linear(3, 2), folder / f"{number}.safetensors", **about))
    return paths


def test_every_weight_is_the_mean(tmp_path: Path) -> None:
    paths = runs(tmp_path)
    average_weights(paths, "extract", tmp_path / "mean.safetensors")
    found, single = load_file(tmp_path / "mean.safetensors"), [load_file(path) for path in paths]
    for name, weight in found.items():
        torch.testing.assert_close(weight, torch.stack([each[name] for each in single]).mean(0))
    about = read_trained(tmp_path / "mean.safetensors", "extract")[1]
    assert about == {"model": "extract", "config": {"hidden": 4}, "steps": 33, "seconds": 300, "averaged": 3}


def test_runs_of_other_seeds_begin_from_the_same_weights(data_dir: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        torch.manual_seed(seed)
        options = TrainOptions(tmp_path / str(seed), max_time=0.0, seed=seed)
        begin(lambda: ExtractTask(EXTRACT), data_dir, options, for_diffuse=False)
    first, second = (load_file(tmp_path / str(seed) / "last.safetensors") for seed in (1, 2))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_what_has_no_mean_is_refused(tmp_path: Path) -> None:
    first, *_ = runs(tmp_path)
    other = save_trained(nn.Linear(4, 2), tmp_path / "other.safetensors", model="extract")
    with pytest.raises(UsageError, match=r"other\.safetensors: is of another network"):
        average_weights([first, other], "extract", tmp_path / "mean.safetensors")
    with pytest.raises(UsageError, match="two or more"):
        average_weights([first], "extract", tmp_path / "mean.safetensors")
    with pytest.raises(UsageError, match="exists"):
        average_weights([first, first], "extract", first)
    with pytest.raises(UsageError):
        average_weights([first, first], "diffuse", tmp_path / "mean.safetensors")
