"""Bundles: what is written is loaded again, and what is damaged is refused in one line."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from bundles import DIFFUSE, EXTRACT, SAMPLER, make_bundle, refusal, save_score_net, save_separator, save_trained
from torch import nn

from exdiff_cli import bundle as module
from exdiff_cli.audio.spectral import SMALL
from exdiff_cli.bundle import PARTS, Bundle, find_bundle, load_bundle, write_bundle
from exdiff_cli.errors import UsageError


@pytest.fixture
def own(bundle_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "own"))


# --- what is written is loaded again ------------------------------------------------------------------------


def test_round_trip(bundle: Bundle, bundle_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert bundle.name == "tiny"
    assert bundle.folder == bundle_folder
    assert (bundle.spectral, bundle.sampler) == (SMALL, SAMPLER)
    assert bundle.separator.network.config == EXTRACT
    assert bundle.score_net.config == DIFFUSE
    again = load_bundle(str(make_bundle(tmp_path)))
    for mine, other in ((bundle.separator, again.separator), (bundle.score_net, again.score_net)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in mine.state_dict().items())
    assert again.weights_sha256 == bundle.weights_sha256


def test_models_are_ready_to_run(bundle: Bundle) -> None:
    for model in (bundle.separator, bundle.score_net):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_sampler_can_be_given(bundle_folder: Path, tmp_path: Path) -> None:
    sampler = replace(SAMPLER, steps=9, kind="sde", start=1.0)
    extract, diffuse = (bundle_folder / f"{part}.safetensors" for part in PARTS)
    write_bundle(tmp_path / "b", extract, diffuse, sampler, with_graphs=False)
    assert load_bundle(str(tmp_path / "b")).sampler == sampler


@pytest.mark.parametrize("part", ["extract", "diffuse"])
def test_either_file_changes_the_hash(bundle: Bundle, bundle_folder: Path, tmp_path: Path, part: str) -> None:
    extract, diffuse = bundle_folder / "extract.safetensors", bundle_folder / "diffuse.safetensors"
    if part == "extract":
        extract = save_separator(tmp_path / "other.safetensors", seed=5)
    else:
        diffuse = save_score_net(tmp_path / "other.safetensors", seed=5)
    write_bundle(tmp_path / "b", extract, diffuse, with_graphs=False)
    assert load_bundle(str(tmp_path / "b")).weights_sha256 != bundle.weights_sha256


# --- finding ------------------------------------------------------------------------------------------------


def test_a_name_is_looked_up_where_bundles_ship(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "model_folders", lambda: [bundle_folder.parent])
    assert find_bundle("tiny") == bundle_folder


def test_an_unknown_name_lists_what_there_is(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "model_folders", lambda: [bundle_folder.parent])
    assert "'absent'" in refusal("absent")
    assert "tiny" in refusal("absent")


def test_without_any_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "model_folders", list)
    assert "none shipped" in refusal("absent")
    assert "none shipped" in refusal(tmp_path)


# --- damage -------------------------------------------------------------------------------------------------


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "diffuse.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "diffuse.safetensors").write_bytes(content)


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "config.toml").read_text()
    assert old in text
    (folder / "config.toml").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_byte, ("diffuse.safetensors", "SHA-256")),
        (lambda folder: (folder / "extract.safetensors").unlink(), ("extract.safetensors", "No such file")),
        (lambda folder: edit(folder, "format = 1", "format = 99"), ("format 99", "reads 1")),
        (lambda folder: edit(folder, "format = 1", ""), ("format None",)),
        (lambda folder: edit(folder, "format = 1", "format = = 1"), ("config.toml", "cannot be read")),
        (lambda folder: (folder / "config.toml").write_bytes(b"\xff\xfe"), ("config.toml", "cannot be read")),
        (lambda folder: edit(folder, "[spectral]", "[other]"), ("spectral", "missing or wrong")),
        (lambda folder: edit(folder, "sha256", "sha1"), ("sha256", "missing or wrong")),
        (lambda folder: edit(folder, "hidden =", "hiding ="), ("hiding", "missing or wrong")),
        (lambda folder: edit(folder, "hidden = 4", "hidden = 5"), ("does not fit its network",)),
        (lambda folder: edit(folder, "[4, 4, 4, 4, 8]", "[4, 4, 4, 4, 6]"), ("config.toml", "missing or wrong")),
    ],
)
def test_damage_is_one_line(own: Path, damage: Callable[[Path], object], words: tuple[str, ...]) -> None:
    damage(own)
    message = refusal(own)
    assert all(word in message for word in words)


def test_files_that_were_swapped_are_refused(own: Path) -> None:
    (own / "extract.safetensors").rename(own / "aside")
    (own / "diffuse.safetensors").rename(own / "extract.safetensors")
    (own / "aside").rename(own / "diffuse.safetensors")
    assert "SHA-256" in refusal(own)


def test_entries_that_were_swapped_are_refused(own: Path) -> None:
    hashes = {part: entry["sha256"] for part, entry in config_of(own).items() if part in ("extract", "diffuse")}
    text = (own / "config.toml").read_text().replace("extract.safetensors", "X").replace(hashes["extract"], "Y")
    text = text.replace("diffuse.safetensors", "extract.safetensors").replace(hashes["diffuse"], hashes["extract"])
    (own / "config.toml").write_text(text.replace('"X"', '"diffuse.safetensors"').replace("Y", hashes["diffuse"]))
    assert "does not fit its network" in refusal(own)


def config_of(folder: Path) -> dict[str, dict[str, str]]:
    return tomllib.loads((folder / "config.toml").read_text())


# --- what cannot become a bundle ----------------------------------------------------------------------------


def test_swapped_parts_are_not_written(bundle_folder: Path, tmp_path: Path) -> None:
    extract, diffuse = bundle_folder / "extract.safetensors", bundle_folder / "diffuse.safetensors"
    with pytest.raises(UsageError, match=r"holds diffuse weights; give those of extract"):
        write_bundle(tmp_path / "b", diffuse, extract)
    assert not (tmp_path / "b").exists()


def test_weights_of_unknown_origin_are_refused(bundle_folder: Path, tmp_path: Path) -> None:
    other = save_trained(nn.Linear(2, 2), tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="holds unknown weights"):
        write_bundle(tmp_path / "b", other, bundle_folder / "diffuse.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"no weights at all", json.dumps(asdict(SAMPLER)).encode()])
def test_what_is_no_weights_file_is_refused(bundle_folder: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"other\.safetensors: cannot be read"):
        write_bundle(tmp_path / "b", bundle_folder / "extract.safetensors", path)


def test_a_place_that_cannot_be_written_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_bundle(tmp_path / "file", bundle_folder / "extract.safetensors", bundle_folder / "diffuse.safetensors")
