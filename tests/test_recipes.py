"""Every command in docs/recipes.md is run: on a small tree, with tiny models, and stand-ins for what is not here."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from machine import Machine, fenced
from recordings import store

BLOCKS = fenced("recipes.md")


def blocks(kind: str, word: str) -> list[str]:
    """Those of a kind that hold a word; there are some."""
    found = [text for its_kind, text in BLOCKS if its_kind == kind and word in text]
    assert found, f"no {kind} block with {word}"
    return found


def test_no_recipe_is_left_out() -> None:
    """A new block needs a test below; every shell command is in one of these."""
    assert [kind for kind, _ in BLOCKS] == ["cron", *["sh"] * 2, "ini", "ini", "sh", "", *["sh"] * 6]


def test_cron_and_retry(machine: Machine) -> None:
    (line,) = blocks("cron", "exdiff")
    minute, hour, day, month, weekday, command = line.split(None, 5)
    assert all(re.fullmatch(r"[\d*,/-]+", field) for field in (minute, hour, day, month, weekday))
    machine.sh(command)
    assert machine.states() == ["done", "done"]
    (machine.root / "srv/calls/bad.wav").write_bytes(b"no sound")
    (script,) = blocks("sh", "exdiff-nightly")
    told = machine.sh(f"sh {machine.put(script)}")
    assert "failed" in told
    assert "bad.wav" in (machine.root / "var/log/exdiff.log").read_text()
    store(machine.root / "srv/calls/bad.wav", 0.6)
    machine.sh(*blocks("sh", "exdiff retry"))
    assert machine.states() == ["done"] * 3


def test_systemd(machine: Machine) -> None:
    service, timer = (machine.put(text) for text in blocks("ini", "/etc/systemd"))
    (command,) = re.findall(r"^ExecStart=(.*)$", service.read_text(), re.MULTILINE)
    (machine.root / "srv/calls-enhanced").mkdir()
    machine.sh(command)
    assert machine.states() == ["done", "done"]
    machine.sh(*blocks("sh", "systemctl"))
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(
            ["systemd-analyze", "verify", service, timer], capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_logrotate(machine: Machine) -> None:
    (config,) = blocks("", "logrotate")
    path = machine.put(config)
    assert f"{machine.root}/var/log/exdiff.log {{" in path.read_text()
    if shutil.which("logrotate"):
        subprocess.run(["logrotate", "--debug", path], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_find_and_jq(machine: Machine) -> None:
    machine.sh(*blocks("sh", "find /srv"))
    assert machine.states("listed") == ["done", "done"]
    (machine.root / "srv/calls/bad.wav").write_bytes(b"no sound")
    machine.sh("exdiff enhance /srv/calls -o /srv/calls-enhanced --quiet || [ $? = 3 ]")
    failed, *slowest = machine.sh(*blocks("sh", "@tsv")).splitlines()
    assert failed.startswith("bad.wav\t")
    assert set(slowest) == {"bad.wav", "one.wav", "sub/two words.wav"}
    (check,) = blocks("sh", "sha256sum")
    machine.sh(check)
    changed = machine.root / "srv/calls-enhanced/one.wav"
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(AssertionError, match=r"one\.wav: FAILED"):
        machine.sh(check)


def test_slurm(machine: Machine) -> None:
    script, submit = blocks("sh", "sbatch")
    machine.put(script)
    told = machine.sh(submit)
    assert "2 results checked, 0 not as they were made" in told
    assert machine.states() == ["done", "done"]


def test_completion(machine: Machine) -> None:
    machine.sh(*blocks("sh", "completion"))
    script = machine.root / "etc/bash_completion.d/exdiff"
    completed = machine.sh(
        f"source {script}; COMP_WORDS=(exdiff ret); COMP_CWORD=1; _exdiff_completion exdiff; echo ${{COMPREPLY[@]}}"
    )
    assert completed.split() == ["retry"]
