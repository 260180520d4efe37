"""Signatures: whatever was changed since, however well it was made to fit; and keys that are none."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import short_settings
from recordings import store
from tampering import alter, enhance_two, flip
from typer.testing import CliRunner, Result

from exdiff_cli import signing
from exdiff_cli.audio.io import file_sha256
from exdiff_cli.bundle import Bundle
from exdiff_cli.cli import app
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.engine import RunOptions, enhance_all
from exdiff_cli.errors import LockedError, UsageError
from exdiff_cli.lock import locked
from exdiff_cli.manifest import Manifest
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.report.sidecar import sidecar_path
from exdiff_cli.settings import Resources
from exdiff_cli.verify import verify

pytest.importorskip("cryptography", reason="needs the extra `sign`")


@pytest.fixture(scope="module")
def finished(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enhance_two(tmp_path_factory.mktemp("sign"), bundle)


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.new_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def signed(out: Path, key: Path) -> Path:
    assert signing.sign(out, signing.load_private_key(key)) == 2
    return out


def found_signed(out: Path, key: Path) -> list[tuple[str, str]]:
    public = signing.load_public_key(key.with_name("key.pub"))
    return [(Path(finding.output).name, finding.problem) for finding in verify(out, public_key=public)]


def test_what_is_as_signed_passes(signed: Path, key: Path) -> None:
    assert found_signed(signed, key) == []


def test_what_was_made_to_fit_is_found_by_a_signature_alone(signed: Path, key: Path) -> None:
    """Result, report and row changed together, so that each confirms the others."""
    flip(signed / "a.wav", 1_000)
    report, before, now = sidecar_path(signed / "a.wav"), "", file_sha256(signed / "a.wav")
    content = json.loads(report.read_text())
    before = content["output"]["sha256"]
    report.write_text(report.read_text().replace(before, now))
    new = f"output_sha256 = '{now}', report_sha256 = '{file_sha256(report)}'"
    alter(signed, f"UPDATE recordings SET {new} WHERE relative = 'a.wav'")
    assert list(verify(signed)) == []
    assert found_signed(signed, key) == [("a.wav", "report changed"), ("a.wav", "row altered"), ("a.wav", "changed")]


def test_one_byte_in_each_is_named(signed: Path, key: Path) -> None:
    flip(signed / "a.wav", 1_000)
    flip(sidecar_path(signed / "sub" / "b.flac"), 50)
    alter(signed, "UPDATE recordings SET settings_key = 'x' WHERE relative = 'sub/b.flac'")
    assert found_signed(signed, key) == [("a.wav", "changed"), ("b.flac", "report changed"), ("b.flac", "row altered")]


def test_missing_and_added_ones_are_named(signed: Path, key: Path) -> None:
    alter(signed, "DELETE FROM recordings WHERE relative = 'a.wav'")
    (signed / "a.wav").unlink()
    store(signed / "foreign.wav", 0.1)
    assert found_signed(signed, key) == [
        ("a.wav", "row missing"),
        ("a.wav", "missing"),
        ("a.wav", "not in the manifest"),
        ("foreign.wav", "not in the manifest"),
    ]


def plant(out: Path, name: str) -> Path:
    """A copy of a result with its report, that nobody made there."""
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(sidecar_path(out / "a.wav"), sidecar_path(target))
    return Path(shutil.copy(out / "a.wav", target))


@pytest.mark.parametrize("is_signed_after", [False, True])
def test_what_is_named_like_a_recording_that_failed(signed: Path, key: Path, is_signed_after: bool) -> None:
    with Manifest.open(signed) as manifest:
        manifest.fail(Path("bad.wav"), signed.parent / "bad.wav", "no sound")
    if is_signed_after:
        signing.sign(signed, signing.load_private_key(key))
    assert found_signed(signed, key) == []
    plant(signed, "bad.wav")
    assert found_signed(signed, key) == [("bad.wav", "left over")]


@pytest.mark.parametrize("state", ["pending", "running", "failed", "skipped"])
def test_a_row_that_was_added_vouches_for_nothing(signed: Path, key: Path, state: str) -> None:
    values = f"'evil.wav', '/evil.wav', '{state}', '2026', 'evil.wav'"
    alter(signed, f"INSERT INTO recordings (relative, source, state, updated_at, output) VALUES ({values})")
    plant(signed, "evil.wav")
    assert found_signed(signed, key) == [("evil.wav", "left over")]


def test_an_older_row_in_another_part_vouches_for_nothing(signed: Path, key: Path) -> None:
    """For a recording that is signed, with another result."""
    with Manifest.open(signed, read_only=True) as manifest:
        row = manifest.get(Path("a.wav"))
    assert row is not None
    with Manifest.open(signed, "shard-1-of-2") as manifest:
        manifest.restore([replace(row, output=Path("evil.wav"), updated_at="2000")])
    plant(signed, "evil.wav")
    assert found_signed(signed, key) == [("evil.wav", "left over")]


def test_nothing_is_hidden_by_a_state_folder(signed: Path, key: Path, finished: Path) -> None:
    (signed / "new" / STATE_FOLDER).mkdir(parents=True)
    plant(signed, "new/evil.wav")
    shutil.copy(signed / "a.wav", signed / "new" / STATE_FOLDER / "deeper.wav")
    assert found_signed(signed, key) == [
        ("evil.wav", "not in the manifest"),
        ("deeper.wav", "not in the manifest"),
    ]
    shutil.copytree(finished, signed / "sub" / "whole")
    assert ("whole", "another output folder") in found_signed(signed, key)


def test_nothing_is_hidden_behind_a_link(signed: Path, key: Path, tmp_path: Path) -> None:
    store(tmp_path / "elsewhere" / "evil.wav", 0.1)
    (signed / "linked").symlink_to(tmp_path / "elsewhere")
    (signed / "notes").symlink_to(tmp_path / "elsewhere" / "evil.wav")
    (signed / "again").symlink_to(signed / "sub")
    assert found_signed(signed, key) == [
        ("again", "linked folder"),
        ("notes", "not in the manifest"),
        ("evil.wav", "not in the manifest"),
    ]


@pytest.mark.usefixtures("finished")
def test_what_was_done_since_is_named_until_it_is_signed(signed: Path, key: Path, bundle: Bundle) -> None:
    late = store(signed.with_name("late") / "c.wav", 0.3)
    enhance_all([late], signed, bundle, short_settings(bundle, steps=0), Resources())
    assert list(verify(signed)) == []
    assert found_signed(signed, key) == [("c.wav", "not signed")]
    assert signing.sign(signed, signing.load_private_key(key)) == 3
    assert found_signed(signed, key) == []


@pytest.mark.parametrize("name", ["signed.jsonl", "signed.sha256", "signed.sha256.sig"])
def test_any_change_of_the_signature_is_named(signed: Path, key: Path, name: str) -> None:
    path = signing.signature_folder(signed) / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(len(whole) // 20, 1)):
        flip(path, place)
        ((_, problem),) = found_signed(signed, key)
        assert "changed" in problem
        path.write_bytes(whole)
    path.unlink()
    assert found_signed(signed, key) == [("signature", "signature missing")]


def test_without_a_good_signature_the_rest_is_still_checked(signed: Path, key: Path) -> None:
    flip(signed / "a.wav", 1_000)
    (signing.signature_folder(signed) / "signed.sha256.sig").unlink()
    assert found_signed(signed, key) == [("signature", "signature missing"), ("a.wav", "changed")]


def test_another_key_does_not_do(signed: Path, tmp_path: Path) -> None:
    signing.new_key(tmp_path / "second")
    public = signing.load_public_key(tmp_path / "second.pub")
    (finding,) = verify(signed, public_key=public)
    assert finding.problem == "signature of another key, or changed"


def test_standard_tools_check_it_too(signed: Path, key: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    check = "sha256sum --check --quiet signed.sha256 && openssl pkeyutl -verify -pubin -inkey"
    command = f"{check} {key}.pub -rawin -in signed.sha256 -sigfile signed.sha256.sig"
    folder = signing.signature_folder(signed)
    assert subprocess.run(["sh", "-c", command], cwd=folder, check=False, capture_output=True).returncode == 0
    flip(folder / "signed.jsonl", 200)
    assert subprocess.run(["sh", "-c", command], cwd=folder, check=False, capture_output=True).returncode != 0


def test_names_of_any_bytes_are_signed_in_order(tmp_path: Path, key: Path, bundle: Bundle) -> None:
    names = ["b.wav", "\u00e9.wav", "a <b>\n.wav", "\udce9.wav", "\ue000.wav"]
    for name in names:
        store(tmp_path / "plain.wav", 0.3).rename(tmp_path / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])
        for number, name in enumerate(names):  # in parts, which have to be merged
            options = RunOptions(part=f"shard-{1 + number % 2}-of-2")
            settings = short_settings(bundle, steps=0)
            enhance_all([tmp_path / name], tmp_path / "o", bundle, settings, Resources(), None, options)
    signing.sign(tmp_path / "o", signing.load_private_key(key))
    assert {str(facts.relative) for facts in signing.read_signed(tmp_path / "o")} == set(names)
    assert found_signed(tmp_path / "o", key) == []


def test_nothing_is_signed_beside_a_run(out: Path, key: Path) -> None:
    with locked(out), pytest.raises(LockedError):
        signing.sign(out, signing.load_private_key(key))


def test_an_empty_folder_is_refused_and_left_alone(tmp_path: Path, key: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no manifest"):
        signing.sign(tmp_path / "empty", signing.load_private_key(key))
    assert list((tmp_path / "empty").iterdir()) == []


# --- keys ---------------------------------------------------------------------------------------------------


def test_a_new_key_is_for_its_user_alone_and_replaces_none(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        signing.new_key(tmp_path / "key")
    public.unlink()
    with pytest.raises(UsageError, match="is there already"):
        signing.new_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before
    assert not public.exists()
    with pytest.raises(UsageError, match="cannot be written"):
        signing.new_key(tmp_path / "nowhere" / "key")


def test_a_key_that_others_may_read_is_warned_of(key: Path, caplog: pytest.LogCaptureFixture) -> None:
    signing.load_private_key(key)
    assert caplog.records == []
    key.chmod(0o644)
    signing.load_private_key(key)
    assert "others may read this key" in caplog.text


def write_pem(path: Path, kind: str, passphrase: bytes | None = None) -> Path:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    made = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else ed25519.Ed25519PrivateKey.generate()
    lock = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    path.write_bytes(made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock))
    spki = form.PublicFormat.SubjectPublicKeyInfo
    path.with_name(path.name + ".pub").write_bytes(made.public_key().public_bytes(form.Encoding.PEM, spki))
    return path


@pytest.fixture
def odd_keys(tmp_path: Path, key: Path) -> dict[str, Path]:
    (tmp_path / "text").write_text("no key")
    return {
        "missing": tmp_path / "nowhere",
        "folder": tmp_path,
        "text": tmp_path / "text",
        "public": key.with_name("key.pub"),
        "private": key,
        "encrypted": write_pem(tmp_path / "locked", "ed25519", b"secret"),
        "ec": write_pem(tmp_path / "ec", "ec"),
        "ec public": tmp_path / "ec.pub",
    }


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "cannot be read (No such file or directory)"),
        ("folder", "cannot be read (Is a directory)"),
        ("text", "holds no key in PEM"),
        ("public", "is a public key"),
        ("encrypted", "is encrypted with a passphrase"),
        ("ec", "is no Ed25519 key"),
    ],
)
def test_what_cannot_sign_is_one_line_before_anything_runs(
    odd_keys: dict[str, Path], kind: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        signing.load_private_key(odd_keys[kind])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    calls = store(tmp_path / "calls" / "a.wav", 0.3).parent
    failed = CliRunner().invoke(app, ["enhance", str(calls), "--sign-key", str(odd_keys[kind])])
    assert isinstance(failed.exception, UsageError)
    assert not calls.with_name("calls-enhanced").exists()


@pytest.mark.parametrize(
    ("kind", "said"), [("private", "is a private key"), ("text", "no key in PEM"), ("ec public", "no Ed25519 key")]
)
def test_what_cannot_verify_is_one_line(odd_keys: dict[str, Path], kind: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        signing.load_public_key(odd_keys[kind])


def test_without_the_package_it_says_what_to_install(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda name: None)
    for load in (signing.load_private_key, signing.load_public_key, signing.new_key):
        with pytest.raises(UsageError, match=r"pip install 'exdiff\[sign\]'"):
            load(key)


# --- commands -----------------------------------------------------------------------------------------------


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_commands(out: Path, tmp_path: Path) -> None:
    assert call("sign", "--new-key", tmp_path / "k").exit_code == 0
    done = call("sign", out, "--key", tmp_path / "k")
    assert (done.exit_code, done.stdout) == (0, "2 results signed\n")
    checked = call("verify", out, "--public-key", tmp_path / "k.pub")
    assert (checked.exit_code, checked.stdout) == (0, "2 results checked, 0 not as they were signed\n")
    flip(out / "a.wav", 1_000)
    assert call("verify", out, "--public-key", tmp_path / "k.pub").exit_code == 3
    before = (signing.signature_folder(out) / "signed.jsonl").read_bytes()
    refused = call("sign", out, "--key", tmp_path / "k", "--json")
    assert refused.exit_code == 3
    finding, summary = map(json.loads, refused.stdout.splitlines())
    assert (finding["problem"], summary) == ("changed", {"message_type": "summary", "signed": 0, "findings": 1})
    assert (signing.signature_folder(out) / "signed.jsonl").read_bytes() == before


def test_a_folder_with_strangers_is_not_signed(out: Path, key: Path) -> None:
    store(out / "foreign.wav", 0.1)
    (out / "notes.txt").write_text("no audio")
    refused = call("sign", out, "--key", key)
    assert refused.exit_code == 3
    assert f"{out / 'foreign.wav'}: not in the manifest" in refused.stdout
    assert not (signing.signature_folder(out) / "signed.jsonl").exists()
    (out / "foreign.wav").unlink()
    assert call("sign", out, "--key", key).exit_code == 0
    assert found_signed(out, key) == []


@pytest.mark.parametrize("arguments", [[], ["OUT"], ["--key", "k"], ["OUT", "--new-key", "k"]])
def test_wrong_calls(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(call("sign", *arguments).exception, UsageError)
    assert list(tmp_path.iterdir()) == []


def test_a_run_signs_at_its_end(bundle_folder: Path, key: Path, tmp_path: Path) -> None:
    calls = store(tmp_path / "calls" / "a.wav", 0.4).parent
    (calls / "bad.wav").write_bytes(b"no sound")
    result = call("enhance", calls, "--bundle", bundle_folder, "--steps", 0, "--sign-key", key, "--quiet")
    assert result.exit_code == 3
    assert found_signed(tmp_path / "calls-enhanced", key) == []
    assert [str(facts.relative) for facts in signing.read_signed(tmp_path / "calls-enhanced")] == ["a.wav"]


def test_a_run_that_cannot_sign_says_so_in_its_summary(bundle_folder: Path, key: Path, tmp_path: Path) -> None:
    calls, out = store(tmp_path / "calls" / "a.wav", 0.4).parent, tmp_path / "calls-enhanced"
    (out / STATE_FOLDER).mkdir(parents=True)
    (out / STATE_FOLDER / "signature").write_text("no folder")
    result = call("enhance", calls, "--bundle", bundle_folder, "--steps", 0, "--sign-key", key, "--json")
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["message_type"], summary["done"], summary["exit_code"], result.exit_code) == ("summary", 1, 3, 3)
    assert "not signed" in summary["problems"][0]
