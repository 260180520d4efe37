"""Every command in docs/evidence.md is run, in its order; and what the page says of changes is so."""

from __future__ import annotations

import json
import shutil

import pytest
from machine import Machine, fenced
from tampering import flip

pytest.importorskip("cryptography", reason="needs the extra `sign`")

BLOCKS = fenced("evidence.md")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_page_from_start_to_end(machine: Machine) -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh"}
    told = {text: machine.sh(text) for _, text in BLOCKS}

    def said(word: str) -> str:
        (found,) = [out for text, out in told.items() if word in text]
        return found

    assert machine.states("calls-filtered") == machine.states() == ["done", "done"]
    assert said("exdiff sign /srv") == "2 results signed\n"
    assert said("--public-key") == "2 results checked, 0 not as they were signed\n"
    assert "Verified Successfully" in said("openssl")
    shown, as_json = said("one.wav --json").rsplit("\n", 2)[:2]
    assert "as recorded" in shown
    assert json.loads(as_json)["wrong"] == []
    assert "no report lies beside it" in said("cp /srv")


def test_what_was_changed_is_named(machine: Machine) -> None:
    for _, text in BLOCKS:
        if "new-key" in text or "--sign-key" in text:
            machine.sh(text)
    (check,) = [text for _, text in BLOCKS if "--public-key" in text]
    flip(machine.root / "srv/calls-enhanced/one.wav", 1_000)
    with pytest.raises(AssertionError, match=r"one\.wav: changed\n2 results checked, 1 not as they were signed"):
        machine.sh(check)
