"""Fine-tuning for one's own site: a new bundle whose Extract knows the noise there, if nothing else gets worse.

Extract goes on training on clean speech in the site's noise. Its weights are then mixed with those it began from
(Wortsman et al. 2022, arXiv 2109.01903), and of the mixtures the best on the site is taken among those with which
the whole bundle does not score worse on the fixed validation set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor

from exdiff_cli.bundle import EXAMPLES, Bundle, model_folders, read_trained, write_bundle
from exdiff_cli.errors import BundleError, UsageError
from exdiff_cli.extract.resunet import ResUNet
from exdiff_cli.training.checkpoint import publish_weights
from exdiff_cli.training.diffuse import DiffuseTask
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.mixing import Recipe, mix
from exdiff_cli.training.objective import Objective, recorded_objective
from exdiff_cli.training.pool import TrainingAudio, find_audio, load_pool, load_training_audio
from exdiff_cli.training.site import Site, collect_site
from exdiff_cli.training.trainer import Trainer, TrainOptions
from exdiff_cli.training.validation import validation_batch

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]

SHARES = (1.0, 0.75, 0.5, 0.25)
SITE_MIXTURES = 40
FIXED_MIXTURES = 80
SITE_SEED = 77
SHIPPED_AUDIO = "training-audio"
TRAINING = Recipe(
    generated_share=0.2, babble_share=0.05, texture_share=0.05, second_noise_share=0.15, noise_speed=(0.85, 1.15)
)
JUDGING = replace(
    TRAINING,
    seconds=4.0,
    snr=(-5.0, 15.0),
    drift_share=0.0,
    generated_share=0.0,
    babble_share=0.0,
    texture_share=0.0,
    second_noise_share=0.0,
    noise_speed=(1.0, 1.0),
    speech_speed_share=0.0,
    noise_only_share=0.0,
    telephone_share=0.0,
)


@dataclass(frozen=True)
class Judgement:
    """Scores of a whole bundle, higher is better: on the site's noise and on the fixed validation set."""

    site: float
    fixed: float


@dataclass(frozen=True)
class Adaptation:
    """What came out: the share of the new weights that was taken, 0 for none, and the scores with and without."""

    share: float
    before: Judgement
    after: Judgement


def load_speech(data: Path | None, site: Site) -> TrainingAudio:
    """Speech to learn from and what to judge by, shipped or from a data directory; the noise is the site's."""
    if data is not None:
        return replace(load_training_audio(data, for_diffuse=False), noise=site.noise)
    for folder in (models / SHIPPED_AUDIO for models in model_folders()):
        if folder.is_dir():
            return TrainingAudio(
                speech=load_pool(find_audio(folder / "speech" / "train"), pauses=True),
                noise=site.noise,
                valid_speech=load_pool(find_audio(folder / "speech" / "valid"), pauses=True),
                valid_noise=load_pool(find_audio(folder / "noise"), pauses=False),
            )
    raise BundleError(f"the folder {SHIPPED_AUDIO} with clean speech is missing: install exdiff again, or give --data")


def learnt(bundle: Bundle, model: str) -> Objective:
    """What one of the bundle's models was trained for, but for the choice by ear, which needs an extra."""
    about = read_trained(bundle.folder / f"{model}.safetensors", model)[1]
    return replace(recorded_objective(about), by_ear=False)


class Judge:
    """Scores a bundle with any weights of Extract, always on the same mixtures."""

    def __init__(self, bundle: Bundle, audio: TrainingAudio, site: Site, device: torch.device) -> None:
        objective = learnt(bundle, "diffuse")
        self.task = DiffuseTask(bundle.separator, bundle.sampler, spectral=bundle.spectral, objective=objective)
        self.task.model = bundle.to(device).score_net
        audio = audio.to(device)
        self.site = mix(audio.valid_speech, site.valid_noise.to(device), JUDGING, SITE_MIXTURES, SITE_SEED, 0)
        self.fixed = validation_batch(audio, FIXED_MIXTURES)

    @torch.no_grad()
    def __call__(self, weights: Weights) -> Judgement:
        self.task.separator.load_state_dict(weights)
        return Judgement(self.task.score(self.site), self.task.score(self.fixed))


def adapt_to(
    recordings: Sequence[Path],
    bundle: Bundle,
    data: Path | None,
    options: TrainOptions,
    out: Path,
    say: Callable[[str], object],
) -> Adaptation:
    """Gather the site's noise from ``recordings`` and :func:`adapt` to it; ``say`` takes lines for the operator.

    The run folder is temporary: what has not become a bundle is gone.
    """
    site = collect_site(recordings, lambda error: log.error("failed: %s", error))
    say(f"{site.seconds:.0f} s without speech found in {len(recordings)} recordings")
    audio = load_speech(data, site)
    with TemporaryDirectory(prefix="exdiff-adapt-") as folder:
        return adapt(bundle, site, audio, replace(options, out=Path(folder), recipe=TRAINING), out)


def adapt(bundle: Bundle, site: Site, audio: TrainingAudio, options: TrainOptions, out: Path) -> Adaptation:
    """Fine-tune, choose, and write the new bundle to ``out`` where it is better; ``options.out`` is the run folder."""
    if not isinstance(bundle.separator.network, ResUNet):
        raise UsageError(f"{bundle.name}: is of the preset base; adapt fine-tunes small bundles")
    path = bundle.folder / "extract.safetensors"
    first = load_file(path)
    judge = Judge(bundle, audio, site, torch.device(options.device))
    before = judge(first)
    # The judge decides, not the trainer's own validation.
    tuned = _fine_tune(bundle, audio, replace(options, init=path, validation_mixtures=1))
    share, after = choose(judge, first, tuned, before)
    if share:
        _write(bundle, blend(first, tuned, share), share, options.out / "adapted.safetensors", out)
    return Adaptation(share, before, after)


def _fine_tune(bundle: Bundle, audio: TrainingAudio, options: TrainOptions) -> Weights:
    assert isinstance(bundle.separator.network, ResUNet)
    task = ExtractTask(bundle.separator.network.config, bundle.spectral, learnt(bundle, "extract"))
    Trainer(task, audio, options).run()
    return load_file(options.out / "last.safetensors")


def blend(first: Weights, second: Weights, share: float) -> Weights:
    """Every weight ``share`` of the way from the first to the second."""
    return {name: torch.lerp(weight, second[name], share) for name, weight in first.items()}


def choose(judge: Judge, first: Weights, tuned: Weights, before: Judgement) -> tuple[float, Judgement]:
    """The share that is best on the site where the fixed set gets no worse; 0 where none is better than nothing."""
    best: tuple[float, Judgement] = (0.0, before)
    for share in SHARES:
        found = judge(blend(first, tuned, share))
        if found.fixed >= before.fixed and found.site > best[1].site:
            best = (share, found)
    return best


def _write(bundle: Bundle, weights: Weights, share: float, path: Path, out: Path) -> None:
    about = read_trained(bundle.folder / "extract.safetensors", "extract")[1]
    about |= {"adapted_from": bundle.name, "adapted_share": share}
    publish_weights(path, weights, about)
    by_example = bundle.folder / f"{EXAMPLES}.safetensors"
    write_bundle(
        out,
        path,
        bundle.folder / "diffuse.safetensors",
        bundle.sampler,
        by_example if by_example.exists() else None,
    )
