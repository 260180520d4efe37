"""Every command in docs/recipes.md is run: on a small tree, with tiny models, and stand-ins for what is not here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import exdiff_server
import pytest
from recordings import store

from exdiff_cli.status import export_lines

RECIPES = Path(__file__).parent.parent / "docs" / "recipes.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(kind, text) for kind, text in FENCE.findall(RECIPES.read_text())]

SBATCH = """#!/bin/sh
count=$(sed -n 's/^#SBATCH --array=1-//p' "$1")
for id in $(seq "$count"); do
    SLURM_ARRAY_TASK_ID=$id SLURM_ARRAY_TASK_COUNT=$count sh "$1" || [ $? = 4 ] || exit
done
"""


@dataclass(frozen=True)
class Machine:
    """A folder that stands for a machine's root; programs that are not there do nothing but be there."""

    root: Path

    def here(self, text: str) -> str:
        """With the machine's paths in place of those of the recipe, and an array of two."""
        text = re.sub(r"(?<![\w.])/(srv|var/log|etc|usr/local/bin)/", rf"{self.root}/\1/", text)
        return text.replace("--array=1-16", "--array=1-2")

    def put(self, text: str) -> Path:
        """Write a block where its heading says."""
        (name,) = re.findall(r"^# (\S+)$", text, re.MULTILINE)
        path = Path(self.here(name)) if name.startswith("/") else self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text))
        return path

    def sh(self, text: str) -> str:
        """Run it as a shell would; gives stdout."""
        path = f"{self.root}/usr/local/bin:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "HOME": str(self.root)}
        done = subprocess.run(
            ["bash", "-c", self.here(text)],
            env=environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def states(self, folder: str = "calls-enhanced") -> list[str]:
        return sorted(json.loads(line)["state"] for line in export_lines(self.root / "srv" / folder))


@pytest.fixture(scope="module")
def exdiff(bundle_folder: Path) -> Iterator[str]:
    """The text of a program `exdiff` that starts at once."""
    with TemporaryDirectory() as folder:  # Not tmp_path: the address of a socket has to be short.
        address = Path(folder) / "exdiff"
        server = subprocess.Popen([sys.executable, exdiff_server.__file__, address, bundle_folder])
        try:
            while not address.exists():
                assert server.poll() is None
                time.sleep(0.05)
            yield exdiff_server.CLIENT.format(python=sys.executable, address=str(address))
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def machine(tmp_path: Path, exdiff: str) -> Machine:
    made = Machine(tmp_path)
    for name, text in {"exdiff": exdiff, "sbatch": SBATCH, "systemctl": "#!/bin/sh\n"}.items():
        program = tmp_path / "usr/local/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    for folder in ("srv", "var/log", "etc/bash_completion.d"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("one.wav", "sub/two words.wav"):
        store(tmp_path / "srv/calls" / name, 0.6)
    return made


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
