"""The simulators, what each needs to be installed, and the environment of its own that it gets."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENTS = ROOT / ".venv-peers"
TORCH = next(
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
)


class PeerError(Exception):
    """A peer could not be installed or did not do the work; says why in one line."""


@dataclass(frozen=True)
class Simulator:
    """Who does the work: its runner is `<name>_runner.py`.

    Attributes:
        name: as it is printed.
        runner: the first part of its runner's file name.
        requirements: what pip installs for it, with versions; empty for fedsim, which runs where this
            program runs.
        share: how many times the updates of a cell it does, so that fast ones run long enough to be timed
            and slow ones not for too long.
    """

    name: str
    runner: str
    requirements: tuple[str, ...] = ()
    share: float = 1.0

    def program(self) -> list[str]:
        """The command that starts its runner, without options."""
        python = self._folder() / "bin" / "python" if self.requirements else Path(sys.executable)
        return [str(python), str(HERE / f"{self.runner}_runner.py")]

    def install(self) -> None:
        """Make its environment, unless the same requirements are installed already. Raises PeerError."""
        if not self.requirements:
            return
        installed = self._folder() / "installed.txt"
        wanted = "\n".join(self.requirements)
        if installed.exists() and installed.read_text() == wanted:
            return
        pip = [str(self._folder() / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(self._folder())],
            [*pip, *self.requirements],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise PeerError(f"could not be installed: {last_line(done.stderr)}")
        installed.write_text(wanted)

    def _folder(self) -> Path:
        return ENVIRONMENTS / self.runner


def last_line(text: str) -> str:
    """The last line with anything in it: of a stack trace, the one that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


SIMULATORS = (
    Simulator("fedsim", "fedsim", share=4),
    Simulator("pfl", "pfl", ("pfl==0.6.0", TORCH)),
    Simulator("FLGo", "flgo", ("flgo==0.4.4", TORCH)),
    Simulator("APPFL", "appfl", ("appfl==1.12.0", TORCH), share=0.4),
)
