"""Queries: names pass, a folder of examples becomes a query of its own, and what cannot be asked is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from bundles import make_bundle
from typer.testing import CliRunner

from exdiff_cli.bundle import Bundle, load_bundle
from exdiff_cli.cli import app
from exdiff_cli.errors import NoInputError, UsageError
from exdiff_cli.query import STRETCH, ask

RATE = 16_000


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(str(make_bundle(tmp_path / "bundle", by_example=True)))


def hum(seconds: float, frequency: float, level: float = 0.2) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return level * np.sin(2 * np.pi * frequency * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))


def examples(folder: Path, *sounds: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for number, sound in enumerate(sounds):
        soundfile.write(folder / f"{number}.wav", sound, RATE, "FLOAT")
    return folder


def embedding(bundle: Bundle) -> torch.Tensor:
    return bundle.separator.queries.embeddings[0]


@pytest.mark.parametrize("name", ["speech", "noise"])
def test_names_are_taken_as_they_are(bundle: Bundle, name: str) -> None:
    asked, query = ask(bundle, name)
    assert asked is bundle
    assert query == name


def test_a_folder_becomes_a_query_of_its_own(bundle: Bundle, tmp_path: Path) -> None:
    asked, query = ask(bundle, str(examples(tmp_path / "pump", hum(3, 120))))
    assert query.startswith("pump@")
    assert asked.separator.queries.names == (query,)
    assert asked.weights_sha256 != bundle.weights_sha256
    again, same = ask(bundle, str(tmp_path / "pump"))
    assert same == query
    assert torch.equal(embedding(again), embedding(asked))


def test_other_examples_make_another_query(bundle: Bundle, tmp_path: Path) -> None:
    asked, query = ask(bundle, str(examples(tmp_path / "pump", hum(3, 120))))
    other, changed = ask(bundle, str(examples(tmp_path / "pump", hum(3, 900))))
    assert changed != query
    assert not torch.allclose(embedding(other), embedding(asked), atol=1e-5)


def test_an_embedding_is_the_mean_over_stretches_whatever_their_level(bundle: Bundle, tmp_path: Path) -> None:
    low, high = hum(STRETCH / RATE, 120), hum(STRETCH / RATE, 900)
    alone = [
        embedding(ask(bundle, str(examples(tmp_path / name, hum_)))[0]) for name, hum_ in (("a", low), ("b", high))
    ]
    silence = np.zeros(STRETCH)
    together, _ = ask(bundle, str(examples(tmp_path / "c", np.concatenate([low, silence, 0.1 * high]))))
    torch.testing.assert_close(embedding(together), (alone[0] + alone[1]) / 2, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_asked_is_said(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"knows speech and noise, or give a folder"):
        ask(bundle, "drums")
    with pytest.raises(NoInputError, match="holds no sound"):
        ask(bundle, str(examples(tmp_path / "silent", np.zeros(RATE))))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.wav").write_text("no sound")
    with pytest.raises(UsageError, match=r"x\.wav"):
        ask(bundle, str(tmp_path / "broken"))
    plain = load_bundle(str(make_bundle(tmp_path / "plain")))
    with pytest.raises(UsageError, match="cannot be asked by example"):
        ask(plain, str(tmp_path / "silent"))


def test_enhance_by_example(tmp_path: Path) -> None:
    """The whole command: same length and rate, the query in the report, and new examples redo the work."""
    folder = make_bundle(tmp_path / "bundle", by_example=True)
    calls, pump = examples(tmp_path / "calls", hum(1.5, 400)), examples(tmp_path / "pump", hum(3, 120))
    arguments = ["enhance", str(calls), "-o", str(tmp_path / "out"), "--bundle", str(folder), "--query", str(pump)]

    def run() -> dict[str, object]:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        settings = json.loads((tmp_path / "out" / "0.wav.quality.json").read_text())["settings"]
        return {"done": json.loads(result.stdout.splitlines()[-1])["done"], "query": settings["query"]}

    first, second = run(), run()
    assert soundfile.info(tmp_path / "out" / "0.wav").frames == round(1.5 * RATE)
    examples(pump, hum(3, 125))
    third = run()
    assert [each["done"] for each in (first, second, third)] == [1, 0, 1]
    assert first["query"] == second["query"] != third["query"]
