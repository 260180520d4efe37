"""The loop that both models train in: limited by time, resumable, with averaged weights and a CSV log.

A run folder holds ``state.pt`` (everything that ``--resume`` needs), ``last.safetensors`` and
``best.safetensors`` (averaged weights, the second chosen on the fixed validation set), and ``log.csv``.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from exdiff_cli.bundle import read_trained
from exdiff_cli.errors import DataError, StoppedError
from exdiff_cli.logs import NOTICE, no_bar
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.stopping import Stop, on_signals
from exdiff_cli.training.checkpoint import publish, publish_weights, read_state, read_weights, writing
from exdiff_cli.training.mixing import Mixture, Recipe, mix
from exdiff_cli.training.pool import TrainingAudio
from exdiff_cli.training.validation import validation_batch

log = logging.getLogger(__name__)

BATCHES_AT_ONCE = 4

SHOWN = ("si_sdr", "valid_loss")
"""Measures of the latest validation that the bar shows, where the task has them."""


class Task(Protocol):
    """One model's objective."""

    description: dict[str, Any]

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""
        ...

    def adopt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights to begin with, made to fit the model where it has grown since."""
        ...

    def draw(self, audio: TrainingAudio, recipe: Recipe, count: int, seed: int, step: int) -> Any:
        """A batch to learn from, which follows from the arguments alone."""
        ...

    def validation(self, audio: TrainingAudio, count: int) -> Any:
        """The fixed batch to validate on, of at most ``count`` mixtures, from audio on the CPU."""
        ...

    def loss(self, batch: Any, step: int, progress: float) -> Tensor:
        """Scalar loss of a batch; ``progress`` goes from 0 to 1 over the time given."""
        ...

    def validate(self, batch: Any) -> dict[str, float]:
        """Measures on held-out mixtures; ``score`` among them, higher is better."""
        ...


class OnMixtures:
    """What both models of a bundle learn from: mixtures of talk and noise, and the fixed validation set."""

    def adopt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As :meth:`Task.adopt`: only what fits as it is."""
        return weights

    def draw(self, audio: TrainingAudio, recipe: Recipe, count: int, seed: int, step: int) -> Mixture:
        """As :meth:`Task.draw`."""
        return mix(audio.speech, audio.noise, recipe, count, seed, step)

    def validation(self, audio: TrainingAudio, count: int) -> Mixture:
        """As :meth:`Task.validation`."""
        return validation_batch(audio, count)


@dataclass(frozen=True)
class TrainOptions:
    """How to train; times in seconds, counted over all sittings of a run."""

    out: Path
    max_time: float
    resume: bool = False
    init: Path | None = None
    batch: int = 8
    learning_rate: float = 1.5e-3
    final_rate: float = 0.02
    warmup_steps: int = 200
    ema: float = 0.999
    seed: int = 0
    device: str = "cpu"
    bf16: bool = False
    checkpoint_every: float = 180.0
    validate_every: float = 1200.0
    validation_mixtures: int = 200
    recipe: Recipe = field(default_factory=Recipe)


class WeightAverage:
    """Exponential moving average of a model's weights, warmed up so that the start is forgotten quickly."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        values = model.state_dict()
        counts = [name for name, value in values.items() if not value.is_floating_point()]
        for name in counts:
            self.weights[name].copy_(values.pop(name))
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        move([self.weights[name] for name in values], list(values.values()), step)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Lend the averaged weights to ``model`` for a while."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)


def _fit_weights(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{source}: holds weights of another network; name a run of this model") from error


class Trainer:
    """Trains one task until its time is used up or it is told to stop."""

    def __init__(self, task: Task, audio: TrainingAudio, options: TrainOptions) -> None:
        self.task, self.options = task, options
        self.device = torch.device(options.device)
        self.audio, self.held_out = audio.to(self.device), audio
        task.model.to(self.device)
        if self.device.type == "cpu":
            task.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.init is not None:
            _fit_weights(task.model, task.adopt(read_weights(options.init, self.device)), options.init)
        self.optimiser = torch.optim.AdamW(task.model.parameters(), lr=options.learning_rate, weight_decay=0.01)
        self.average = WeightAverage(task.model, options.ema)
        self.drawn: tuple[int, Any] | None = None
        self.step, self.elapsed, self.validated, self.best = 0, 0.0, 0.0, -math.inf
        self.stop = Stop()
        self._enter_run_folder()

    def _enter_run_folder(self) -> None:
        out, state = self.options.out, self.options.out / "state.pt"
        try:
            out.mkdir(parents=True, exist_ok=True)
            is_used = state.exists()
            for leftover in out.glob(TEMPORARY_GLOB):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{out}: cannot be a run folder ({error.strerror}); name another --out") from error
        if is_used and not self.options.resume:
            raise DataError(f"{out}: holds a run already; add --resume to go on, or name another --out")
        if is_used:
            self._restore(read_state(state))
        if self.options.resume:
            self._mind_the_best(out / "best.safetensors")

    def _mind_the_best(self, path: Path) -> None:
        """Nothing worse may replace the best weights, which are younger than the state if the run was killed."""
        if path.exists():
            about = read_trained(path, self.task.description["model"])[1]
            self.best = max(self.best, about.get("score", -math.inf))

    def _restore(self, state: dict[str, Any]) -> None:
        began = state.get("task", self.task.description)
        if began != self.task.description:
            changed = [name for name, value in self.task.description.items() if began.get(name) != value]
            raise DataError(
                f"{self.options.out}: began with another {', '.join(changed)}; resume with the options that it began "
                "with, or name another --out"
            )
        _fit_weights(self.task.model, state["model"], self.options.out)
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.weights = {name: value.to(self.device) for name, value in state["average"].items()}
        self.step, self.elapsed, self.best = state["step"], state["elapsed"], state["best"]
        self.validated = state.get("validated", self.elapsed)

    def save(self) -> None:
        """Write the state to resume from, and the averaged weights."""
        state = {
            "task": self.task.description,
            "model": self.task.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.weights,
            "step": self.step,
            "elapsed": self.elapsed,
            "validated": self.validated,
            "best": self.best,
        }
        buffer = BytesIO()
        torch.save(state, buffer)
        publish(self.options.out / "state.pt", buffer.getvalue())
        self._export("last", {})

    def _export(self, name: str, measures: dict[str, float]) -> None:
        about = {**self.task.description, "steps": self.step, "seconds": round(self.elapsed), **measures}
        publish_weights(self.options.out / f"{name}.safetensors", self.average.weights, about)

    @property
    def progress(self) -> float:
        return min(1.0, self.elapsed / self.options.max_time)

    def _set_rate(self) -> None:
        """Linear warm-up, then a cosine over the time given."""
        options = self.options
        warm = min(1.0, (self.step + 1) / options.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        rate = options.learning_rate * warm * (options.final_rate + (1 - options.final_rate) * cosine)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _draw(self) -> Any:
        """This step's batch; on a GPU several are drawn at once: to launch the drawing costs more than to do it."""
        options, at_once = self.options, 1 if self.device.type == "cpu" else BATCHES_AT_ONCE
        turn, place = divmod(self.step, at_once)
        if self.drawn is None or self.drawn[0] != turn:
            rows = options.batch * at_once
            self.drawn = turn, self.task.draw(self.audio, options.recipe, rows, options.seed, turn)
        return self.drawn[1][place * options.batch : (place + 1) * options.batch]

    def train_step(self) -> float:
        """One optimiser step on a fresh batch; returns its loss."""
        options, batch = self.options, self._draw()
        self._set_rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.bf16):
            loss = self.task.loss(batch, self.step, self.progress)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.task.model.parameters(), 1.0)
        if norm.isfinite():
            self.optimiser.step()
        self.step += 1
        self.average.update(self.task.model, self.step)
        return loss.item()

    def validate(self) -> dict[str, float]:
        """Measure the averaged weights on fixed mixtures; keep them if they are the best so far."""
        self.validated = self.elapsed
        # Drawn on the CPU, so that weights trained on a GPU are judged by the same mixtures.
        batch = self.task.validation(self.held_out, self.options.validation_mixtures).to(self.device)
        self.task.model.eval()
        with self.average.applied_to(self.task.model), torch.no_grad():
            measures = self.task.validate(batch)
        self.task.model.train()
        if measures["score"] > self.best:
            self.best = measures["score"]
            self._export("best", measures)
        return measures

    def log(self, loss: float, measures: dict[str, float]) -> None:
        row = {"step": self.step, "seconds": round(self.elapsed), "loss": round(loss, 5)}
        row |= {name: round(value, 4) for name, value in measures.items()}
        path = self.options.out / "log.csv"
        is_new = not path.exists()
        with writing(path), path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def run(self) -> dict[str, float]:
        """Train to the end of the time given; returns the last validation's measures.

        SIGINT and SIGTERM end it early, with its state saved, by :class:`StoppedError`.
        """
        self.task.model.train()
        seconds, done = round(self.options.max_time), round(self.elapsed)
        with on_signals(self.stop, _acknowledge), tqdm(total=seconds, unit="s", disable=no_bar(), initial=done) as bar:
            measures = self._loop(bar)
        if self.stop.signal is not None:
            raise StoppedError(self.stop.signal)
        return measures

    def _loop(self, bar: Any) -> dict[str, float]:
        running, saved, measures = 0.0, self.elapsed, {}
        if self.step == 0 and self.options.init is not None:  # Nothing worse than it may become the best.
            measures = self._validate_and_log(running)
        clock = time.monotonic()
        while self.elapsed < self.options.max_time and not self.stop.draining:
            loss = self.train_step()
            running = loss if running == 0 else 0.98 * running + 0.02 * loss
            now = time.monotonic()
            self.elapsed, clock = self.elapsed + now - clock, now
            is_last = self.elapsed >= self.options.max_time
            if is_last or self._is_validation_due():
                measures = self._validate_and_log(running)
            if is_last or self.elapsed - saved >= self.options.checkpoint_every:
                self.save()
                saved = self.elapsed
            bar.n = round(self.elapsed)
            bar.set_postfix(self._shown(running, measures))
        self.save()
        return measures

    def _is_validation_due(self) -> bool:
        """By time; after a signal it waits for the next sitting, as whoever sent it may soon kill."""
        return self.elapsed - self.validated >= self.options.validate_every and not self.stop.draining

    def _validate_and_log(self, loss: float) -> dict[str, float]:
        measures = self.validate()
        self.log(loss, measures)
        return measures

    def _shown(self, loss: float, measures: dict[str, float]) -> dict[str, str]:
        """What the bar says; nothing of validations before there was one."""
        values = {"loss": loss, **{name: measures[name] for name in SHOWN if name in measures}}
        if math.isfinite(self.best):
            values["best"] = self.best
        return {"step": str(self.step), **{name: f"{value:.3f}" for name, value in values.items()}}


def _acknowledge(_: str) -> None:
    """Tell that a signal came; there is no limit to the time that a validation takes to finish."""
    log.log(NOTICE, "stopping after the step or validation in hand; once more stops at once")
