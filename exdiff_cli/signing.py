"""Signs what an output folder holds, by Ed25519, so that nobody without the key can change it unseen.

In ``.exdiff/signature`` lie ``signed.jsonl``, a line for every recording that is done, ``signed.sha256``, which names
its hash as `sha256sum` does, and ``signed.sha256.sig``, the signature of that. It needs the extra ``sign``.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exdiff_cli.audio.io import file_sha256
from exdiff_cli.errors import UsageError
from exdiff_cli.lock import locked, state_folder
from exdiff_cli.manifest import Row
from exdiff_cli.publish import publish_bytes, publish_text, reason
from exdiff_cli.report.sidecar import QualityReport, sidecar_path
from exdiff_cli.status import done_rows, parts_of

if TYPE_CHECKING:  # an extra, which nothing else needs
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

log = logging.getLogger(__name__)

PART = "signature"
LIST, HASH, SIGNATURE = "signed.jsonl", "signed.sha256", "signed.sha256.sig"
VERSION = 1
PUBLIC_SUFFIX = ".pub"


@dataclass(frozen=True)
class Facts:
    """What is signed of a recording: its name, and what its original, result, report, settings and models are.

    Paths are below the output folder. ``report_sha256`` is None where it is not known.
    """

    relative: Path
    original_size: int | None
    original_sha256: str | None
    output: Path
    output_size: int | None
    output_sha256: str | None
    report_sha256: str | None
    settings_key: str | None
    weights_sha256: str | None

    @classmethod
    def of_row(cls, row: Row) -> Facts:
        """What the manifest says."""
        original, result = (row.size, row.sha256), (row.output_size, row.output_sha256)
        keys = (row.settings_key, row.weights_sha256)
        return cls(row.relative, *original, row.result, *result, row.report_sha256, *keys)

    def as_reported(self, report: QualityReport) -> Facts:
        """The same recording as its report has it."""
        return replace(
            self,
            original_size=report.input.bytes,
            original_sha256=report.input.sha256,
            output_size=report.output.bytes,
            output_sha256=report.output.sha256,
            settings_key=report.settings_key,
            weights_sha256=report.weights_sha256,
        )

    def differing(self, other: Facts) -> list[str]:
        """The names of what is not the same; a report's hash that one of the two does not know is no difference."""
        found = [each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name)]
        is_unknown = None in (self.report_sha256, other.report_sha256)
        return [name for name in found if name != "report_sha256" or not is_unknown]

    def as_line(self) -> str:
        return json.dumps(asdict(self), default=Path.as_posix, sort_keys=True) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Facts:
        """What :meth:`as_line` wrote; ValueError, TypeError or KeyError for anything else."""
        values: dict[str, Any] = json.loads(line)
        return cls(**values | {name: Path(values[name]) for name in ("relative", "output")})


def signature_folder(output: Path) -> Path:
    """Where the three files lie."""
    return state_folder(output, PART)


def sign(output: Path, key: Ed25519PrivateKey, lock_wait: float = 0.0) -> int:
    """Sign what the manifests of an output folder say, in place of an earlier signature; how many recordings.

    Hashes nothing but reports that an older exdiff did not hash. Raises UsageError where there is no manifest,
    LockedError while a run is at work that is no part, RecordingError where the disk refuses.
    """
    folder, count = signature_folder(output), 0

    def lines() -> Iterator[str]:
        nonlocal count
        public = key.public_key().public_bytes_raw().hex()
        yield json.dumps({"message_type": "signed", "public_key": public, "version": VERSION}, sort_keys=True) + "\n"
        for row in done_rows(output):
            count += 1
            yield _with_report(output, Facts.of_row(row)).as_line()

    parts_of(output)  # before anything is written
    with locked(output, PART, lock_wait):
        publish_text(folder / LIST, lines())
        told = f"{file_sha256(folder / LIST)}  {LIST}\n"
        publish_text(folder / HASH, told)
        publish_bytes(folder / SIGNATURE, key.sign(told.encode()))
    return count


def _with_report(output: Path, facts: Facts) -> Facts:
    if facts.report_sha256 is None:
        with suppress(OSError):
            return replace(facts, report_sha256=file_sha256(sidecar_path(output / facts.output)))
    return facts


def signature_problem(output: Path, key: Ed25519PublicKey) -> str:
    """What is wrong with the signature of a folder, in words; empty if it is the key's and the list is as signed."""
    from cryptography.exceptions import InvalidSignature

    folder = signature_folder(output)
    try:
        told = (folder / HASH).read_bytes()
        key.verify((folder / SIGNATURE).read_bytes(), told)
        is_same = told == f"{file_sha256(folder / LIST)}  {LIST}\n".encode()
    except FileNotFoundError:
        return "signature missing"
    except OSError:
        return "signature unreadable"
    except InvalidSignature:
        return "signature of another key, or changed"
    return "" if is_same else f"{LIST} changed since it was signed"


def read_signed(output: Path) -> Iterator[Facts]:
    """What was signed, in the order of :func:`exdiff_cli.status.done_rows`; once it has no problem.

    Raises :class:`UsageError` for a list of another version.
    """
    path = signature_folder(output) / LIST
    with path.open(encoding="utf-8") as file:
        head = json.loads(file.readline())
        if head.get("version") != VERSION:
            raise UsageError(
                f"{path}: of version {head.get('version')}, this exdiff reads {VERSION}; update one of them"
            )
        for line in file:
            yield Facts.from_line(line)


def new_key(path: Path) -> Path:
    """Make a key pair: the private one at ``path``, for its user alone, the public one beside it, whose path it gives.

    Raises :class:`UsageError` where one of them is there already.
    """
    _require_package()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, public = Ed25519PrivateKey.generate(), path.with_name(path.name + PUBLIC_SUFFIX)
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    if os.path.lexists(public):
        raise UsageError(f"{public}: is there already; name another file")
    _create(path, pem, 0o600)
    spki = form.PublicFormat.SubjectPublicKeyInfo
    _create(public, key.public_key().public_bytes(form.Encoding.PEM, spki), 0o644)
    return public


def _create(path: Path, content: bytes, mode: int) -> None:
    """A new file that nobody else could read meanwhile."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"{path}: is there already; name another file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason(error)}); name another file") from error


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """The key of a PEM file; :class:`UsageError` says what else it is. Warns of one that others may read."""
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(path)
    if b"PUBLIC KEY" in content:
        raise UsageError(f"{path}: is a public key; give the private one to sign")
    if b"ENCRYPTED" in content:
        remedy = f"write one without: openssl pkey -in {path} -out FILE"
        raise UsageError(f"{path}: is encrypted with a passphrase, which nobody can type at night; {remedy}")
    key = _parsed(path, lambda: load_pem_private_key(content, None))
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: is no Ed25519 key; make one with: exdiff sign --new-key FILE")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        log.warning("%s: others may read this key; chmod 600 it, or make a new one", path)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The same of a public key."""
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content(path)
    if b"PRIVATE KEY" in content:
        raise UsageError(f"{path}: is a private key; give the public one, which lies beside it as *{PUBLIC_SUFFIX}")
    key = _parsed(path, lambda: load_pem_public_key(content))
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path}: is no Ed25519 key; give the public one of what it was signed with")
    return key


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)}); name a key file") from error


def _parsed(path: Path, parse: Callable[[], object]) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return parse()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path}: holds no key in PEM; make one with: exdiff sign --new-key FILE") from error


def _require_package() -> None:
    if find_spec("cryptography") is None:
        raise UsageError("signatures need the package cryptography; pip install 'exdiff[sign]'")
