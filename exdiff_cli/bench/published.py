"""The published setting on this machine: NCSN++ of the ``base`` preset, 60 evaluations a recording.

Speed does not depend on the weights, so that they are random. A few evaluations are timed and the rest extrapolated.
"""

from __future__ import annotations

from time import perf_counter

import torch
from torch import Tensor

from exdiff_cli.bench.peak import synchronise
from exdiff_cli.bench.work import MacCounter, random_spectrum
from exdiff_cli.diffuse.base_net import BaseScoreNetConfig
from exdiff_cli.diffuse.score_net import Condition, DataPredictor
from exdiff_cli.extract.resunet import count_parameters
from exdiff_cli.extract.resunet30 import LATENT_STRIDE
from exdiff_cli.extract.separator import Extraction
from exdiff_cli.presets import PRESETS, build_score_net
from exdiff_cli.settings import Resources

EVALUATIONS = 60
"""Thirty steps of a predictor and a corrector (Richter et al. 2023)."""

LEAST_TIMED = 3
LEAST_BATCH = 8
"""On a GPU whose run measured how much it has room for: the published network takes far more."""

FRAMES = 256
"""Two seconds of audio: whole strides of the network, so that nothing of its work is padding."""


@torch.inference_mode()
def measure_published(resources: Resources, run_factor: float, timed: int = LEAST_TIMED) -> dict[str, object]:
    """Time evaluations on the run's device with its threads and batch; ``run_factor`` is the whole run's.

    The fastest of them counts, and of the rest of a run nothing: both are in favour of the published setting.
    ValueError for fewer than three evaluations.
    """
    if timed < LEAST_TIMED:
        raise ValueError(f"{timed} evaluations are too few to time: at least {LEAST_TIMED}")
    device, spectral = torch.device(resources.devices[0]), PRESETS["base"].spectral
    network = _build(device)
    state = random_spectrum(resources.batch or LEAST_BATCH, spectral, FRAMES, device)
    condition, times = _condition(network, state), torch.full((len(state),), 0.5, device=device)
    macs = _count(network, state, times, condition)
    fastest = min(_time(network, state, times, condition, device) for _ in range(timed))
    audio = FRAMES / spectral.frames_per_second * len(state)
    factor = EVALUATIONS * fastest / audio
    return {
        "real_time_factor": round(factor, 4),
        "times_faster": round(factor / run_factor, 1),
        "evaluations": EVALUATIONS,
        "evaluations_timed": timed,
        "seconds_per_evaluation": round(fastest, 4),
        "audio_seconds": round(audio, 3),
        "parameters": count_parameters(network),
        "macs_per_second": round(macs / audio),
        "note": f"extrapolated from {timed} evaluations on {audio:.2f} s of audio to the {EVALUATIONS} of the"
        " published setting; its decoding, Extract, scoring and writing are not even counted",
    }


def _build(device: torch.device) -> DataPredictor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_score_net(PRESETS["base"].score_net)
    return network.eval().to(device)


def _condition(network: DataPredictor, mixture: Tensor) -> Condition:
    """What the network looks at beside the state, with random latents."""
    config = PRESETS["base"].score_net
    assert isinstance(config, BaseScoreNetConfig)
    shape = (len(mixture), config.latent_channels, config.latent_bands, -(-mixture.shape[-1] // LATENT_STRIDE))
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(mixture.device)
    return network.condition(mixture, Extraction(mixture, (latents, latents)))


def _count(network: DataPredictor, state: Tensor, times: Tensor, condition: Condition) -> int:
    """MACs of an evaluation, which warms the device up at the same time."""
    with torch.inference_mode(False), torch.no_grad(), MacCounter(network) as counter:
        network(state, times, condition)
    return counter.macs


def _time(network: DataPredictor, state: Tensor, times: Tensor, condition: Condition, device: torch.device) -> float:
    synchronise(device)
    began = perf_counter()
    network(state, times, condition)
    synchronise(device)
    return perf_counter() - began
