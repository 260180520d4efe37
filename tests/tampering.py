"""An output folder, and changes to it that nobody is meant to notice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from bundles import short_settings
from recordings import store

from exdiff_cli.bundle import Bundle
from exdiff_cli.discover import STATE_FOLDER
from exdiff_cli.engine import enhance_all
from exdiff_cli.measures.dnsmos import Dnsmos, DnsmosScore
from exdiff_cli.settings import Resources

OTHER = "e" * 64


def enhance_two(root: Path, bundle: Bundle) -> Path:
    """An output folder of two recordings, made without scoring."""
    for name in ("a.wav", "sub/b.flac"):
        store(root / "in" / name, 0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dnsmos, "score", lambda model, windows: [DnsmosScore(3.0, 3.0, 3.0) for _ in windows])
        enhance_all([root / "in"], root / "out", bundle, short_settings(bundle, steps=0), Resources())
    return root / "out"


def alter(out: Path, statement: str) -> None:
    """Change one row of the manifest behind its back."""
    with sqlite3.connect(out / STATE_FOLDER / "manifest.sqlite") as database:
        assert database.execute(statement).rowcount == 1
    database.close()


def flip(path: Path, place: int) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
