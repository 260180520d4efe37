"""A machine in a folder, on which the commands of the documentation are run as a shell would run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from exdiff_cli.status import export_lines

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCS = Path(__file__).parent.parent / "docs"


SBATCH = """#!/bin/sh
count=$(sed -n 's/^#SBATCH --array=1-//p' "$1")
for id in $(seq "$count"); do
    SLURM_ARRAY_TASK_ID=$id SLURM_ARRAY_TASK_COUNT=$count sh "$1" || [ $? = 4 ] || exit
done
"""


def fenced(page: str) -> list[tuple[str, str]]:
    """The blocks of a page of the documentation: kind and text of each."""
    return FENCE.findall((DOCS / page).read_text())


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
