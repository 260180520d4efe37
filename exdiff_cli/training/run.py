"""Sets a training run up from what the command line gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load

from exdiff_cli.bundle import build_config, read_trained
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.separator import Separator
from exdiff_cli.presets import Preset, find_preset
from exdiff_cli.stopping import parse_duration
from exdiff_cli.training.hearing import heard_measures
from exdiff_cli.training.mixing import Recipe
from exdiff_cli.training.pool import load_training_audio
from exdiff_cli.training.trainer import Task, Trainer, TrainOptions


def train_options(
    out: Path,
    max_time: str,
    validate_every: str,
    resume: bool,
    init: Path | None,
    batch: int,
    seconds: float,
    learning_rate: float,
    seed: int,
    device: str,
) -> TrainOptions:
    """Options of a run; on a GPU it computes in bfloat16."""
    return TrainOptions(
        out=out,
        max_time=parse_duration(max_time, "--max-time"),
        validate_every=parse_duration(validate_every, "--validate-every"),
        resume=resume,
        init=init,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        bf16=device.startswith("cuda"),
        recipe=Recipe(seconds=seconds),
    )


def is_by_ear(choose_by: str) -> bool:
    """Whether weights are chosen by hearing; :class:`UsageError` for a choice that there is not or cannot be made."""
    if choose_by not in ("loss", "hearing"):
        raise UsageError(f"--choose-by {choose_by}: there is loss and hearing")
    if choose_by == "hearing":  # Now, not at the first validation.
        heard_measures(torch.zeros(1, 16_000), torch.zeros(1, 16_000))
    return choose_by == "hearing"


def trained_separator(path: Path) -> tuple[Separator, Preset]:
    """A separator from trained weights, whose metadata describe its network, and its preset.

    Raises :class:`UsageError` where they do not fit.
    """
    content, about = read_trained(path, "extract")
    try:
        preset = find_preset(about.get("preset", "small"))
        separator = Separator(build_config(type(preset.separator), about["config"]))
        separator.load_state_dict(load(content))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path}: does not fit the network that it names; train Extract again") from error
    return separator, preset


def begin(build: Callable[[], Task], data: Path, options: TrainOptions, for_diffuse: bool) -> None:
    """Load the audio and train to the end of the time given what ``build`` makes.

    Whatever the seed of the mixtures, it begins from the same weights: only such runs have a mean worth having.
    """
    torch.manual_seed(0)
    Trainer(build(), load_training_audio(data, for_diffuse), options).run()
