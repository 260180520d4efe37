"""A manifest that is damaged or gone: what its reports prove is not done again, and everything else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from bundles import short_settings
from recordings import store

from exdiff_cli.bundle import Bundle
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.engine import RunOptions, RunResult, enhance_all
from exdiff_cli.errors import ExitCode
from exdiff_cli.manifest import Manifest, Row
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.rebuild import rebuild
from exdiff_cli.report.sidecar import sidecar_path
from exdiff_cli.settings import Resources
from exdiff_cli.verify import verify

Enhance = Callable[[Path], RunResult]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of a kept format, of one that becomes WAV, and of a name that is not UTF-8."""
    root = tmp_path_factory.mktemp("rebuild") / "in"
    store(root / "a.wav", 0.4)
    store(root / "site" / "b.flac", 0.4)
    store(root / "raw", 0.4, rate=8_000, subtype="GSM610", container="RAW").rename(root / "site" / "c.gsm")
    store(root / "pcm.wav", 0.4).rename(root / b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    return root


@pytest.fixture(scope="module")
def enhance(source: Path, bundle: Bundle) -> Iterator[Enhance]:
    def run(out: Path) -> RunResult:
        return enhance_all([source], out, bundle, short_settings(bundle, steps=0), Resources())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])
        yield run


@pytest.fixture(scope="module")
def finished(enhance: Enhance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    assert enhance(out).exit_code is ExitCode.OK
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """An output folder with all done, to be damaged."""
    return shutil.copytree(finished, tmp_path / "out")


def manifest_of(out: Path) -> Path:
    return out / STATE_FOLDER / "manifest.sqlite"


def damage(out: Path) -> None:
    manifest_of(out).write_bytes(b"this is no database" * 500)


def rows_of(out: Path) -> list[Row]:
    with Manifest.open(out, read_only=True) as manifest:
        return list(manifest.rows())


def contents(out: Path) -> dict[Path, str]:
    files = (path for path in out.rglob("*") if path.is_file() and STATE_FOLDER not in path.parts)
    return {path: sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_intact_is_not_done_again(enhance: Enhance, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, rows = contents(out), rows_of(out)
    damage(out)
    result = enhance(out)
    assert (result.skipped, len(result.done), result.exit_code) == (4, 0, ExitCode.OK)
    assert contents(out) == before
    (line,) = (record.getMessage() for record in caplog.records)
    assert "damaged" in line
    assert "rebuilt from the reports" in line
    assert "\n" not in line
    for restored, row in zip(rows_of(out), rows, strict=True):
        for name in ("relative", "size", "mtime_ns", "sha256", "settings_key", "weights_sha256", "state", "source"):
            assert getattr(restored, name) == getattr(row, name), name
        for name in ("output", "output_size", "output_sha256", "timings"):
            assert getattr(restored, name) == getattr(row, name), name
    assert list(verify(out)) == []


def test_what_is_not_intact_is_done_again(enhance: Enhance, out: Path) -> None:
    damage(out)
    changed, silent = out / "a.wav", sidecar_path(out / "site" / "b.flac")
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    silent.write_text("{}")
    result = enhance(out)
    assert {outcome.job.source.name for outcome in result.done} == {"a.wav", "b.flac"}
    assert result.skipped == 2
    assert list(verify(out)) == []


def test_verify_finds_what_was_changed_before_the_manifest_was_lost(out: Path) -> None:
    shutil.rmtree(out / STATE_FOLDER)
    (out / "a.wav").write_bytes(b"changed")
    with Manifest.open(out) as manifest:
        rebuild(manifest, out)
    assert [(finding.recording, finding.problem) for finding in verify(out)] == [("a.wav", "changed")]


def test_a_manifest_that_is_gone_is_rebuilt_too(enhance: Enhance, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(out / STATE_FOLDER)
    assert enhance(out).skipped == 4
    (line,) = (record.getMessage() for record in caplog.records)
    assert "was gone; rebuilt from 4 reports" in line


def test_a_part_takes_only_what_is_its_own(enhance: Enhance, out: Path, source: Path, bundle: Bundle) -> None:
    for path in (out / ".exdiff").glob("manifest.sqlite*"):
        path.unlink()
    options = RunOptions(part="shard-1-of-2")
    result = enhance_all([source / "a.wav"], out, bundle, short_settings(bundle, steps=0), Resources(), None, options)
    assert result.skipped == 1
    with Manifest.open(out, "shard-1-of-2", read_only=True) as manifest:
        assert [row.relative.name for row in manifest.rows()] == ["a.wav"]


def test_a_new_folder_says_nothing(enhance: Enhance, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(enhance(tmp_path / "out").done) == 4
    assert caplog.records == []
