"""Fine-tuning for one's own site: a new bundle whose models know the noise there, if nothing else gets worse.

Extract goes on training on clean speech in the site's noise, then Diffuse on what Extract has become. The weights of
both are mixed with those they began from (Wortsman et al. 2022, arXiv 2109.01903), and of the mixtures the best on
the site is taken among those with which the bundle does not score worse on the fixed validation set.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor

from exdiff_cli.bundle import EXAMPLES, PARTS, Bundle, find_shipped_audio, read_trained, write_bundle
from exdiff_cli.diffuse.score_net import ScoreNet
from exdiff_cli.errors import UsageError
from exdiff_cli.extract.resunet import ResUNet
from exdiff_cli.training.checkpoint import publish_weights
from exdiff_cli.training.diffuse import DiffuseTask
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.mixing import Recipe, mix
from exdiff_cli.training.objective import Objective, recorded_objective
from exdiff_cli.training.pool import TrainingAudio, find_audio, joined, load_pool, load_training_audio
from exdiff_cli.training.site import Site, collect_site
from exdiff_cli.training.trainer import Task, Trainer, TrainOptions
from exdiff_cli.training.validation import validation_batch

log = logging.getLogger(__name__)

SHARES = (1.0, 0.75, 0.5, 0.25)
SITE_SHARE = 0.7
"""How much of the recorded noise that is learnt from is the site's, where there is other noise too."""

EXTRACT_TIME = 1 / 3
"""Of the time given; Diffuse, whose steps take three times as long, has the rest."""

DISTURBANCE = 0.5
"""Weight of what a listener minds in what Diffuse learns, and what bundles are judged by: without it, scores rose and
PESQ fell."""

WARMUP_STEPS = 50
SITE_MIXTURES = 40
FIXED_MIXTURES = 80
SITE_SEED = 77
TRAINING = Recipe(
    generated_share=0.35, babble_share=0.1, texture_share=0.1, second_noise_share=0.3, noise_speed=(0.85, 1.15)
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
    clean_share=0.0,
    dropout_share=0.0,
    telephone_share=0.0,
)


@dataclass(frozen=True)
class Weights:
    """Of both models, by the names of their parameters."""

    extract: dict[str, Tensor]
    diffuse: dict[str, Tensor]


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
    """Speech to learn from and what to judge by, shipped or from a data directory; the noise is the site's.

    Where a data directory has noise to learn from, that is mixed in, so that the models do not unlearn it.
    """
    if data is not None:
        audio = load_training_audio(data, for_diffuse=False)
        clips = len(audio.noise.starts) * SITE_SHARE / (1 - SITE_SHARE)  # each of which is as likely as another
        times = max(1, round(clips / len(site.noise.starts)))
        return replace(audio, noise=joined([audio.noise, *[site.noise] * times]))
    folder = find_shipped_audio()
    return TrainingAudio(
        speech=load_pool(find_audio(folder / "speech" / "train"), pauses=True),
        noise=site.noise,
        valid_speech=load_pool(find_audio(folder / "speech" / "valid"), pauses=True),
        valid_noise=load_pool(find_audio(folder / "noise"), pauses=False),
    )


def weights_of(bundle: Bundle, model: str) -> Path:
    """The file of the bundle's weights of a model."""
    return bundle.folder / f"{model}.safetensors"


def learnt(bundle: Bundle, model: str) -> Objective:
    """What one of the bundle's models was trained for, but for the choice by ear, which needs an extra."""
    about = read_trained(weights_of(bundle, model), model)[1]
    return replace(recorded_objective(about), by_ear=False)


def wanted(bundle: Bundle) -> Objective:
    """What Diffuse learns for a site, and what bundles are judged by."""
    objective = learnt(bundle, "diffuse")
    return replace(objective, disturbance=max(objective.disturbance, DISTURBANCE))


class Judge:
    """Scores a bundle with any weights of its models, always on the same mixtures."""

    def __init__(self, bundle: Bundle, audio: TrainingAudio, site: Site, device: torch.device) -> None:
        self.task = DiffuseTask(bundle.separator, bundle.sampler, spectral=bundle.spectral, objective=wanted(bundle))
        self.task.model = bundle.to(device).score_net
        audio = audio.to(device)
        self.site = mix(audio.valid_speech, site.valid_noise.to(device), JUDGING, SITE_MIXTURES, SITE_SEED, 0)
        self.fixed = validation_batch(audio, FIXED_MIXTURES)

    @torch.no_grad()
    def __call__(self, weights: Weights) -> Judgement:
        self.task.separator.load_state_dict(weights.extract)
        self.task.model.load_state_dict(weights.diffuse)
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
    first = Weights(*(load_file(weights_of(bundle, model)) for model in PARTS))
    judge = Judge(bundle, audio, site, torch.device(options.device))
    before = judge(first)
    tuned = fine_tune(bundle, audio, options)
    share, after = choose(judge, first, tuned, before)
    if share:
        _write(bundle, blend(first, tuned, share), share, options.out / "adapted", out)
    return Adaptation(share, before, after)


def fine_tune(bundle: Bundle, audio: TrainingAudio, options: TrainOptions) -> Weights:
    """Extract, then Diffuse, as it shall be used: on what Extract has become."""
    separator = copy.deepcopy(bundle.separator)
    network, score_net = separator.network, bundle.score_net
    assert isinstance(network, ResUNet)
    assert isinstance(score_net, ScoreNet)
    first, second = (
        replace(options, max_time=options.max_time * share, warmup_steps=min(options.warmup_steps, WARMUP_STEPS))
        for share in (EXTRACT_TIME, 1 - EXTRACT_TIME)
    )
    extract = _tune(ExtractTask(network.config, bundle.spectral, learnt(bundle, "extract")), bundle, audio, first)
    separator.load_state_dict(extract)
    aim = wanted(bundle)
    task = DiffuseTask(separator, bundle.sampler, score_net.config, spectral=bundle.spectral, objective=aim)
    return Weights(extract, _tune(task, bundle, audio, second))


def _tune(task: Task, bundle: Bundle, audio: TrainingAudio, options: TrainOptions) -> dict[str, Tensor]:
    """A model's weights after the time given; the judge decides, not the trainer's own validation."""
    model = task.description["model"]
    run = options.out / model
    Trainer(task, audio, replace(options, out=run, init=weights_of(bundle, model), validation_mixtures=1)).run()
    return load_file(run / "last.safetensors")


def blend(first: Weights, second: Weights, share: float) -> Weights:
    """Every weight ``share`` of the way from the first to the second."""

    def mixed(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.lerp(weight, other[name], share) for name, weight in one.items()}

    return Weights(mixed(first.extract, second.extract), mixed(first.diffuse, second.diffuse))


def choose(judge: Judge, first: Weights, tuned: Weights, before: Judgement) -> tuple[float, Judgement]:
    """The share that is best on the site where the fixed set gets no worse; 0 where none is better than nothing."""
    best: tuple[float, Judgement] = (0.0, before)
    for share in SHARES:
        found = judge(blend(first, tuned, share))
        log.info(
            "%.0f %% of what was learnt: score on the site's noise %+.4f, elsewhere %+.4f",
            100 * share,
            found.site - before.site,
            found.fixed - before.fixed,
        )
        if found.fixed >= before.fixed and found.site > best[1].site:
            best = (share, found)
    return best


def _write(bundle: Bundle, weights: Weights, share: float, folder: Path, out: Path) -> None:
    """The new bundle at ``out``, by way of weights in ``folder``."""
    folder.mkdir()
    paths = {model: folder / f"{model}.safetensors" for model in PARTS}
    for model, tensors in (("extract", weights.extract), ("diffuse", weights.diffuse)):
        about = read_trained(weights_of(bundle, model), model)[1]
        publish_weights(paths[model], tensors, about | {"adapted_from": bundle.name, "adapted_share": share})
    by_example = weights_of(bundle, EXAMPLES)
    write_bundle(out, paths["extract"], paths["diffuse"], bundle.sampler, by_example if by_example.exists() else None)
