"""Learns how loud speech is above a telephone's band from what lies within it, for `enhance --extend-band`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from exdiff_cli.audio.band_above import FRAME, Floats, features, heard_total, spectra, targets
from exdiff_cli.training.pool import Pool, TrainingAudio

HIDDEN, STEPS, ROWS, LEARNING_RATE = 32, 2_500, 1_024, 3e-3
FRAMES = 120_000
AUDIBLE = 1e-4
"""Frames fainter than this share of their clip's loudest are not learnt from."""


@dataclass(frozen=True)
class Errors:
    """Of each band in dB, root mean squares over held-out talk: of the mean of all, and of the network."""

    of_the_mean: list[float]
    of_the_network: list[float]


def examples(pool: Pool, most_frames: int) -> tuple[Tensor, Tensor]:
    """What the network hears and is to tell of audible frames of a pool's clips, in its order."""
    heard: list[Floats] = []
    wanted: list[Floats] = []
    left = most_frames
    for clip in pool.clips():
        start, length = int(clip.starts[0]), int(clip.lengths[0])
        if length >= 2 * FRAME:
            power = np.square(np.abs(spectra(pool.samples[start : start + length].numpy() / 32768.0)))
            total = heard_total(power)[:, 0]
            audible = total > AUDIBLE * total.max()
            heard.append(features(power, power[:1])[audible])
            wanted.append(targets(power)[audible])
            left -= len(heard[-1])
        if left <= 0:
            break
    return _tensor(np.concatenate(heard)), _tensor(np.concatenate(wanted))


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def fit(audio: TrainingAudio, out: Path, steps: int = STEPS) -> Errors:
    """Train the network for ``steps`` and write its weights to ``out``; how far it is off on held-out talk."""
    heard, wanted = examples(_mixed(audio.speech), FRAMES)
    mean, scale = heard.mean(0), heard.std(0) + 1e-6
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(heard.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, wanted.shape[1]))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(heard), (ROWS,), generator=generator)
        loss = (network((heard[rows] - mean) / scale) - wanted[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    _write(network, mean, scale, out)
    other, truth = examples(_mixed(audio.valid_speech), FRAMES // 4)
    with torch.no_grad():
        told = network((other - mean) / scale)
    return Errors(_decibels(wanted.mean(0) - truth), _decibels(told - truth))


def _mixed(pool: Pool) -> Pool:
    """The clips in an order in which corpora are mixed."""
    order = torch.randperm(len(pool.starts), generator=torch.Generator().manual_seed(0))
    return Pool(pool.samples, pool.starts[order], pool.lengths[order], tuple(pool.names[i] for i in order))


def _decibels(errors: Tensor) -> list[float]:
    return [round(10 * error, 2) for error in errors.square().mean(0).sqrt().tolist()]


def _write(network: nn.Sequential, mean: Tensor, scale: Tensor, out: Path) -> None:
    """With the scaling of what is heard made part of the first layer."""
    first, last = network[0], network[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    weight = first.weight.detach() / scale
    bias = first.bias.detach() - weight @ mean
    tensors = {"hidden.weight": weight, "hidden.bias": bias, "out.weight": last.weight, "out.bias": last.bias}
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, out)
