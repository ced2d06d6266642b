"""Parts by strangers that misbehave, for files beside a test's scenarios."""

from __future__ import annotations

from pathlib import Path

PARTS = """
import os
import signal
import time
from pathlib import Path

from fedsim.timing.delays import Delay


class Strange(Delay):
    value_s: float = 0.5

    @property
    def mean_value_s(self):
        return self.value_s

    def sample(self, generator, size):
        self.misbehave()
        return generator.random(size) + self.value_s


class Raising(Strange):
    def misbehave(self):
        if not Path(__file__).with_name("mended").exists():
            raise ValueError(f"cannot sample\\nat {self.value_s}")


class Suicide(Strange):
    def misbehave(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Slow(Strange):
    # Asked some ten times per run.
    def misbehave(self):
        time.sleep(0.015)


class Untravelled(Strange):
    def __reduce__(self):
        raise TypeError("cannot travel")

    def misbehave(self):
        pass
"""


def strange(folder: Path) -> Path:
    """Write them as the module `strange`."""
    file = folder / "strange.py"
    file.write_text(PARTS)
    return file


def latency(kind: str, value_s: float = 0.5) -> str:
    """Return the override by which calls take such a delay."""
    return f"llm.latency={{ kind = 'strange:{kind}', value_s = {value_s} }}"
