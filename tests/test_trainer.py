"""The training loop: killed and resumed it goes on bit by bit as if nothing had happened."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from exdiff_cli.audio.spectral import LEVEL_RMS
from exdiff_cli.bundle import Bundle
from exdiff_cli.errors import DataError, ExitCode, StoppedError
from exdiff_cli.publish import TEMPORARY_GLOB
from exdiff_cli.training import adapt as adaptation
from exdiff_cli.training import trainer as trainer_module
from exdiff_cli.training.adapt import Judgement, adapt
from exdiff_cli.training.extract import ExtractTask
from exdiff_cli.training.mixing import Mixture, Recipe
from exdiff_cli.training.pool import TrainingAudio, load_training_audio
from exdiff_cli.training.site import Site
from exdiff_cli.training.trainer import BATCHES_AT_ONCE, OnMixtures, Trainer, TrainOptions, WeightAverage


class FilterTask(OnMixtures):
    """Learns two small convolutions over the folded waveform; calls ``before`` ahead of each loss."""

    def __init__(self, channels: int = 2, before: Callable[[int], None] | None = None) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.Tanh(), nn.Conv2d(channels, 1, 3, padding=1)
        )
        self.description: dict[str, Any] = {"model": "filter", "config": {"channels": channels}}
        self.before = before

    def _error(self, batch: Mixture) -> Tensor:
        folded, target = ((wave / LEVEL_RMS).view(len(wave), 1, 16, -1) for wave in (batch.mixture, batch.speech))
        return (self.model(folded) - target).square().mean()

    def loss(self, batch: Mixture, step: int, progress: float) -> Tensor:
        if self.before is not None:
            self.before(step)
        return self._error(batch)

    def validate(self, batch: Mixture) -> dict[str, float]:
        error = self._error(batch).item()
        return {"error": error, "score": -error}


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        out=tmp_path / "run",
        max_time=6.0,
        batch=2,
        warmup_steps=3,
        validation_mixtures=2,
        checkpoint_every=1e9,
        validate_every=1e9,
        recipe=Recipe(seconds=0.2),
    )


def let_every_step_take_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    let_every_step_take_a_second(monkeypatch)


def strike(at: int, number: signal.Signals) -> Callable[[int], None]:
    """Send a signal to this process in step ``at``."""
    return lambda step: os.kill(os.getpid(), number) if step == at else None


def logged(options: TrainOptions) -> list[dict[str, str]]:
    with (options.out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same(ours: Any, theirs: Any) -> None:
    """Bit by bit, through the nested dictionaries of a state."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


def assert_equal_trainers(ours: Trainer, theirs: Trainer) -> None:
    assert (ours.step, ours.elapsed) == (theirs.step, theirs.elapsed)
    assert_same(ours.task.model.state_dict(), theirs.task.model.state_dict())
    assert_same(ours.optimiser.state_dict()["state"], theirs.optimiser.state_dict()["state"])
    assert_same(ours.average.weights, theirs.average.weights)


def test_steps_lower_the_loss_of_a_fixed_batch(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    speech = LEVEL_RMS * torch.randn(2, 3200, generator=generator)
    monkeypatch.setattr(trainer_module, "mix", lambda *_: Mixture(-0.5 * speech, speech))
    trainer = Trainer(FilterTask(channels=4), training_audio, replace(options, learning_rate=0.02))
    losses = [trainer.train_step() for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_gpu_draws_several_batches_at_once(training_audio: TrainingAudio, options: TrainOptions) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    trainer.device = torch.device("cuda")  # Of which the drawing asks for the kind alone; the audio stays here.
    rows = 2 * BATCHES_AT_ONCE
    drawn = [trainer.task.draw(training_audio, options.recipe, rows, options.seed, turn) for turn in (0, 1)]
    expected = torch.cat([batch.mixture for batch in drawn]).view(-1, 2, options.recipe.samples)
    for trainer.step in (0, 1, 3, 4, 2 * BATCHES_AT_ONCE - 1, 2):  # Resumed anywhere it is the same.
        assert torch.equal(trainer._draw().mixture, expected[trainer.step])


def test_killed_and_resumed_equals_uninterrupted(training_audio: TrainingAudio, options: TrainOptions) -> None:
    whole = Trainer(FilterTask(), training_audio, replace(options, out=options.out / "whole"))
    killed = Trainer(FilterTask(), training_audio, options)
    for _ in range(5):
        whole.train_step()
    for step in range(4):
        if step == 2:
            killed.save()
        killed.train_step()

    resumed = Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert resumed.step == 2
    for _ in range(3):
        resumed.train_step()
    assert_equal_trainers(resumed, whole)
    state = resumed.optimiser.state_dict()["state"][0]
    assert state["step"] == 5
    assert state["exp_avg"].any()


@pytest.mark.usefixtures("clock")
def test_run_ends_with_its_time_and_is_logged(training_audio: TrainingAudio, options: TrainOptions) -> None:
    options = replace(options, validate_every=2.0)
    trainer = Trainer(FilterTask(), training_audio, options)
    measures = trainer.run()
    assert trainer.step == 6
    rows = logged(options)
    assert list(rows[0]) == ["step", "seconds", "loss", "error", "score"]
    assert [(row["step"], row["seconds"]) for row in rows] == [("2", "2"), ("4", "4"), ("6", "6")]
    assert float(rows[-1]["score"]) == pytest.approx(measures["score"], abs=1e-4)
    assert all(float(row["loss"]) > 0 for row in rows)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_stops(training_audio: TrainingAudio, options: TrainOptions, number: signal.Signals) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    whole = Trainer(FilterTask(), training_audio, replace(options, out=options.out / "whole"))
    whole.run()
    stopped = Trainer(FilterTask(before=strike(2, number)), training_audio, options)
    with pytest.raises(StoppedError, match=number.name) as raised:
        stopped.run()
    assert raised.value.exit_code == 128 + number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert stopped.step == 3
    assert not (options.out / "best.safetensors").exists()

    resumed = Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert (resumed.step, resumed.elapsed) == (3, 3.0)
    resumed.run()
    assert_equal_trainers(resumed, whole)


@pytest.mark.usefixtures("clock")
def test_after_a_signal_a_validation_waits_for_the_next_sitting(
    training_audio: TrainingAudio, options: TrainOptions
) -> None:
    options = replace(options, validate_every=3.0)
    with pytest.raises(StoppedError):
        Trainer(FilterTask(before=strike(2, signal.SIGTERM)), training_audio, options).run()
    assert not (options.out / "log.csv").exists()
    Trainer(FilterTask(), training_audio, replace(options, resume=True)).run()
    assert [row["seconds"] for row in logged(options)] == ["4", "6"]


def test_a_stopped_adaptation_writes_no_bundle(
    training_audio: TrainingAudio, options: TrainOptions, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, whole = strike(0, signal.SIGTERM), ExtractTask.loss

    def struck(task: ExtractTask, batch: Mixture, step: int, progress: float) -> Tensor:
        ends(step)
        return whole(task, batch, step, progress)

    monkeypatch.setattr(ExtractTask, "loss", struck)
    monkeypatch.setattr(adaptation, "Judge", lambda *_: lambda weights: Judgement(0.0, 0.0))
    monkeypatch.setattr(adaptation, "choose", lambda *_: (1.0, Judgement(1.0, 1.0)))
    site = Site(training_audio.noise, training_audio.valid_noise, 10.0)
    with pytest.raises(StoppedError):
        adapt(bundle, site, training_audio, options, options.out / "adapted")
    assert not (options.out / "adapted").exists()


def be_killed(data: Path, options: TrainOptions) -> None:
    """In a process of its own: a checkpoint after steps 2 and 4, the end in the sixth step."""
    let_every_step_take_a_second(pytest.MonkeyPatch())
    task = FilterTask(before=strike(5, signal.SIGKILL))
    Trainer(task, load_training_audio(data, for_diffuse=True), replace(options, checkpoint_every=2.0)).run()


def test_a_killed_process_is_gone_on_with_from_its_checkpoint(
    data_dir: Path, training_audio: TrainingAudio, options: TrainOptions
) -> None:
    process = get_context("spawn").Process(target=be_killed, args=(data_dir, options))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL

    resumed = Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert resumed.step == 4
    whole = Trainer(FilterTask(), training_audio, replace(options, out=options.out / "whole"))
    for _ in range(4):
        whole.train_step()
        whole.elapsed += 1.0
    assert_equal_trainers(resumed, whole)
    for trainer in (resumed, whole):
        trainer.train_step()
    assert_equal_trainers(resumed, whole)
    assert resumed.optimiser.state_dict()["state"][0]["step"] == 5


@pytest.mark.usefixtures("clock")
def test_checkpoints_come_by_time(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(FilterTask(), training_audio, replace(options, checkpoint_every=2.0))
    saved: list[int] = []
    monkeypatch.setattr(trainer, "save", lambda: saved.append(trainer.step))
    trainer.run()
    assert sorted(set(saved)) == [2, 4, 6]


@pytest.mark.usefixtures("clock")
def test_finished_run_is_not_trained_further(training_audio: TrainingAudio, options: TrainOptions) -> None:
    Trainer(FilterTask(), training_audio, options).run()
    finished = Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert finished.run() == {}
    assert finished.step == 6


@pytest.mark.usefixtures("clock")
def test_short_sittings_come_to_a_validation(training_audio: TrainingAudio, options: TrainOptions) -> None:
    options = replace(options, validate_every=5.0, max_time=60.0, resume=True)
    for last in (1, 3, 5, 7):
        with pytest.raises(StoppedError):
            Trainer(FilterTask(before=strike(last, signal.SIGINT)), training_audio, options).run()
    assert [row["seconds"] for row in logged(options)] == ["5"]


def test_a_state_from_before_validations_were_timed_is_resumed(
    training_audio: TrainingAudio, options: TrainOptions
) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    trainer.elapsed = 2.5
    trainer.save()
    state = torch.load(options.out / "state.pt")
    del state["validated"]
    torch.save(state, options.out / "state.pt")
    resumed = Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert (resumed.elapsed, resumed.validated) == (2.5, 2.5)


def test_used_folder_needs_resume(training_audio: TrainingAudio, options: TrainOptions) -> None:
    Trainer(FilterTask(), training_audio, options).save()
    with pytest.raises(DataError, match="holds a run already; add --resume"):
        Trainer(FilterTask(), training_audio, options)


def test_resume_of_nothing_starts_anew(training_audio: TrainingAudio, options: TrainOptions) -> None:
    assert Trainer(FilterTask(), training_audio, replace(options, resume=True)).step == 0


@pytest.mark.parametrize("folder", ["notes.txt", "notes.txt/run"])
def test_a_file_is_no_run_folder(
    training_audio: TrainingAudio, options: TrainOptions, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "notes.txt").write_text("no run")
    with pytest.raises(DataError, match=f"{folder}: cannot be a run folder .*; name another --out"):
        Trainer(FilterTask(), training_audio, replace(options, out=tmp_path / folder))


def saved(value: object) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"no state at all",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(b"optimiser", b"\0ptimiser"),
        lambda whole: pickle.dumps(Path("x"), protocol=2),
        lambda whole: saved({"state_dict": {}, "epoch": 3}),
        lambda whole: saved(torch.zeros(3)),
    ],
)
def test_a_damaged_or_foreign_state_is_named(
    training_audio: TrainingAudio, options: TrainOptions, damage: Callable[[bytes], bytes]
) -> None:
    Trainer(FilterTask(), training_audio, options).save()
    path = options.out / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as raised:
        Trainer(FilterTask(), training_audio, replace(options, resume=True))
    expected = "is damaged, or no state of a training; delete it to begin anew, or name another --out"
    assert str(raised.value) == f"{path}: {expected}"


def test_a_state_that_cannot_be_read_is_named(training_audio: TrainingAudio, options: TrainOptions) -> None:
    (options.out / "state.pt").mkdir(parents=True)
    with pytest.raises(DataError, match=r"state\.pt: cannot be read \(Is a directory\)"):
        Trainer(FilterTask(), training_audio, replace(options, resume=True))


def test_a_full_disk_is_one_line_and_leaves_the_older_state(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    trainer.save()

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    trainer.step = 7
    with pytest.raises(DataError, match=r"state\.pt: cannot be written \(No space left on device\)") as raised:
        trainer.save()
    assert raised.value.exit_code == ExitCode.USAGE
    assert not list(options.out.glob(TEMPORARY_GLOB))
    assert Trainer(FilterTask(), training_audio, replace(options, resume=True)).step == 0


def test_a_log_that_cannot_be_written_is_named(training_audio: TrainingAudio, options: TrainOptions) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    (options.out / "log.csv").mkdir()
    with pytest.raises(DataError, match=r"log\.csv: cannot be written \(Is a directory\)"):
        trainer.log(0.5, {"score": 1.0})


def test_files_are_on_the_disk_before_they_bear_their_names(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    synced: list[tuple[int, set[str]]] = []

    def note(descriptor: int) -> None:
        about = os.fstat(descriptor)
        names = {"part" if path.match(TEMPORARY_GLOB) else path.name for path in options.out.iterdir()}
        if stat.S_ISREG(about.st_mode):
            synced.append((about.st_size, names))

    monkeypatch.setattr(os, "fsync", note)
    trainer.save()
    state, last = ((options.out / name).stat().st_size for name in ("state.pt", "last.safetensors"))
    assert synced == [(state, {"part"}), (last, {"state.pt", "part"})]


def test_what_a_kill_left_half_written_is_cleared_away(training_audio: TrainingAudio, options: TrainOptions) -> None:
    Trainer(FilterTask(), training_audio, options).save()
    leftover = options.out / TEMPORARY_GLOB.replace("*", "1234")
    leftover.write_bytes(b"half")
    Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert not leftover.exists()
    assert (options.out / "state.pt").exists()


def test_weights_of_another_network_are_refused(training_audio: TrainingAudio, options: TrainOptions) -> None:
    Trainer(FilterTask(channels=2), training_audio, options).save()
    with pytest.raises(DataError, match="began with another config; resume with the options"):
        Trainer(FilterTask(channels=3), training_audio, replace(options, resume=True))
    first = options.out / "last.safetensors"
    with pytest.raises(DataError, match=r"last\.safetensors: holds weights of another network"):
        Trainer(FilterTask(channels=3), training_audio, replace(options, out=options.out / "b", init=first))


def test_init_begins_from_given_weights(training_audio: TrainingAudio, options: TrainOptions) -> None:
    first = Trainer(FilterTask(), training_audio, options)
    first.train_step()
    first.save()
    last = options.out / "last.safetensors"
    second = Trainer(FilterTask(), training_audio, replace(options, out=options.out / "second", init=last))
    assert second.step == 0
    assert_same(second.task.model.state_dict(), load_file(last))
    assert_same(second.average.weights, load_file(last))


def test_unreadable_init_is_named(training_audio: TrainingAudio, options: TrainOptions, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    for path in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(DataError, match=rf"{path.name}: cannot be read as weights"):
            Trainer(FilterTask(), training_audio, replace(options, init=path))


def test_exports_carry_averaged_weights_and_their_story(training_audio: TrainingAudio, options: TrainOptions) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    trainer.train_step()
    trainer.elapsed = 1.4
    measures = trainer.validate()
    trainer.train_step()
    trainer.save()
    for name, steps in (("best", 1), ("last", 2)):
        path = options.out / f"{name}.safetensors"
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["exdiff"])
        expected = {"model": "filter", "config": {"channels": 2}, "steps": steps, "seconds": 1}
        assert about == expected | (measures if name == "best" else {})
        FilterTask().model.load_state_dict(load_file(path))
    assert_same(load_file(options.out / "last.safetensors"), trainer.average.weights)
    assert not list(options.out.glob(TEMPORARY_GLOB))


def test_best_is_the_best_so_far(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, scores = Trainer(FilterTask(), training_audio, options), iter((1.0, 3.0, 2.0))
    monkeypatch.setattr(trainer.task, "validate", lambda batch: {"score": next(scores)})
    for step in range(3):
        trainer.step = step
        trainer.validate()
    with safe_open(options.out / "best.safetensors", "pt") as file:
        about = json.loads(file.metadata()["exdiff"])
    assert (about["steps"], about["score"]) == (1, 3.0)
    trainer.save()
    assert Trainer(FilterTask(), training_audio, replace(options, resume=True)).best == 3.0


@pytest.mark.parametrize("checkpoint", [True, False])
def test_nothing_worse_replaces_the_best_of_a_killed_run(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch, checkpoint: bool
) -> None:
    """The run ends between a validation and the next checkpoint, its first one too."""
    scores = iter([1.0, 3.0, 2.0] if checkpoint else [3.0, 2.0])
    monkeypatch.setattr(FilterTask, "validate", lambda self, batch: {"score": next(scores)})
    killed = Trainer(FilterTask(), training_audio, options)
    if checkpoint:
        killed.validate()
        killed.save()
    killed.validate()
    best = (options.out / "best.safetensors").read_bytes()

    resumed = Trainer(FilterTask(), training_audio, replace(options, resume=True))
    assert resumed.best == 3.0
    resumed.train_step()
    resumed.validate()
    assert (options.out / "best.safetensors").read_bytes() == best


@pytest.mark.usefixtures("clock")
def test_the_bar_tells_of_validations_once_there_was_one(
    training_audio: TrainingAudio,
    options: TrainOptions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = iter([(7.25, 3.0), (6.5, 2.0)])

    def validate(task: FilterTask, batch: Mixture) -> dict[str, float]:
        ratio, score = next(measured)
        return {"valid_loss": 0.125, "si_sdr": ratio, "score": score}

    monkeypatch.setattr(FilterTask, "validate", validate)
    monkeypatch.setattr(trainer_module, "no_bar", lambda: False)
    Trainer(FilterTask(), training_audio, replace(options, validate_every=3.0)).run()
    shown = [line for line in capsys.readouterr().err.split("\r") if "step=" in line]
    first, latest = (next(line for line in shown if f"step={step}," in line) for step in (1, 6))
    assert "loss=" in first
    assert not any(word in first for word in ("inf", "best", *trainer_module.SHOWN))
    assert "si_sdr=6.500, valid_loss=0.125, best=3.000" in latest


def test_validation_measures_the_average_on_fixed_mixtures(
    training_audio: TrainingAudio, options: TrainOptions
) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    before = trainer.validate()
    with torch.no_grad():
        for parameter in trainer.task.model.parameters():
            parameter.add_(1)
    moved = {name: value.clone() for name, value in trainer.task.model.state_dict().items()}
    trainer.step = 7
    assert trainer.validate() == before
    assert_same(trainer.task.model.state_dict(), moved)
    assert trainer.task.model.training


def test_average_is_warmed_up() -> None:
    """The decay is (1 + step) / (10 + step) until it reaches its final value."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average, expected = WeightAverage(model, decay=0.3), 0.0
    for step, value, decay in ((1, 1.0, 2 / 11), (2, 5.0, 3 / 12), (4, -2.0, 0.3), (90, 4.0, 0.3)):
        nn.init.constant_(model.weight, value)
        average.update(model, step)
        expected = decay * expected + (1 - decay) * value
        assert average.weights["weight"].item() == pytest.approx(expected)


def test_average_is_lent_even_if_its_user_fails() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay=0.9)
    nn.init.ones_(model.weight)
    lent: list[float] = []

    def fail() -> None:
        with average.applied_to(model):
            lent.append(model.weight.item())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert lent == [0]
    assert model.weight.item() == 1


def test_rate_warms_up_and_falls_to_its_end(training_audio: TrainingAudio, options: TrainOptions) -> None:
    trainer = Trainer(FilterTask(), training_audio, replace(options, learning_rate=0.01, final_rate=0.1))
    rates = []
    for elapsed in (0.0, 0.0, 0.0, 3.0, 6.0, 9.0):
        trainer.elapsed = elapsed
        trainer.train_step()
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.0055, 0.001, 0.001])


def test_step_without_a_number_changes_no_weight(
    training_audio: TrainingAudio, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(FilterTask(), training_audio, options)
    before = {name: value.clone() for name, value in trainer.task.model.state_dict().items()}
    whole = trainer.task.loss
    monkeypatch.setattr(trainer.task, "loss", lambda *inputs: whole(*inputs) * float("nan"))
    trainer.train_step()
    assert trainer.step == 1
    assert_same(trainer.task.model.state_dict(), before)
