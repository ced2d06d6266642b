"""Black-box prompt learning, by each worker alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.algorithms.base import Algorithm, Bench, Setting
from fedsim.learning.optimizers import Optimized
from fedsim.schedule import UNBOUNDED, Schedule, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.local.alone import Alone


class Bdpl(Optimized, Algorithm):
    """Local BDPL: every worker tunes prompt distributions of its own, and nothing is exchanged.

    What federation is worth is what a federated method gains over it. A worker starts its next job as soon as
    it has finished one, so that nobody waits for a slow one; the step of a server stands for the end of a
    job, and takes no time. Loss and accuracy are means over the workers, each with its own prompt.

    Source: Diao et al., "Black-box prompt learning for pre-trained language models", TMLR 2023, Algorithm 1,
    per worker.
    """

    kind: Literal["bdpl"] = "bdpl"
    local_steps: int = Field(default=1, ge=1, le=1_000_000)
    """E, steps of a job, each with the calls of a whole estimate; a worker is measured between two jobs."""

    def schedule(self, setting: Setting) -> Schedule:
        cost = setting.problem.cost()._replace(bytes_up=0, bytes_down=0).repeated(self.local_steps)
        return Schedule(Steps(1, UNBOUNDED), {"local": Work(cost)}, "local", alone=True)

    def open(self, bench: Bench) -> Alone:
        from fedsim.algorithms.local.alone import Alone

        return Alone(bench, self.optimizer, self.local_steps)

    def unread(self, setting: Setting) -> Mapping[str, str]:
        found = dict.fromkeys(("problem.bytes_up", "problem.bytes_down"), "workers of bdpl exchange nothing")
        if not (setting.problem.tunes_p or setting.problem.tunes_q):
            found["algorithm.optimizer"] = "the problem tunes nothing"
        return found
