"""The common work in fedsim, on a problem of one's own: the other runners bring their model as well.

Set-up is what `fedsim.simulation.run` does before the first event; evaluation is off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from work import CLASSES, FEATURES, LEARNING_RATE, CommonWork, ReadyRunner, main

from fedsim.algorithms.base import Bench
from fedsim.attack import Assigned
from fedsim.messages import JobCost
from fedsim.problems.base import Problem, Sent
from fedsim.recorder import Recorder
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse
from fedsim.simulation import timeline
from fedsim.streams import Streams
from fedsim.timing.loop import run_timeline

NEVER = 10**6
EXACT = "it computes in float64, the others in float32"
FLOAT32_BYTES = 4


class CommonSoftmax(Problem):
    """Softmax regression on the common data, whose arrays `prepare` finds in `work`."""

    kind: Literal["common_softmax"] = "common_softmax"
    has_accuracy: ClassVar[bool] = False
    work: ClassVar[CommonWork]

    @property
    def tunes_p(self) -> bool:
        return True

    @property
    def tunes_q(self) -> bool:
        return False

    @property
    def sends(self) -> Sent:
        return "numbers"

    def cost(self, pooled: int = 1) -> JobCost:
        model_bytes = FLOAT32_BYTES * CLASSES * (FEATURES + 1)
        return JobCost(0, 0, 0, model_bytes, model_bytes)

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> CommonOracle:
        return CommonOracle(self.work)


class CommonOracle:
    """Gradients of the mean cross-entropy; p is a model, (10, 60 + 1) with the bias last; q is idle."""

    on_simplex = False
    questions = None

    def __init__(self, work: CommonWork) -> None:
        ones = np.ones((*work.labels.shape, 1))
        self._x = torch.from_numpy(np.concatenate([work.features, ones], axis=2))
        self._y = torch.nn.functional.one_hot(torch.from_numpy(work.labels), CLASSES).mT.double()
        self.start_p = torch.zeros(CLASSES, FEATURES + 1, dtype=torch.float64)
        self.start_q = torch.zeros(1, 1, dtype=torch.float64)

    def upper(
        self, workers: list[int], jobs: list[int], P: Any, Q: Any, starts_s: Sequence[float] = ()
    ) -> tuple[Any, Any]:
        return self.lower(workers, jobs, P, Q, starts_s), torch.zeros_like(Q)

    def lower(
        self, workers: list[int], jobs: list[int], P: Any, realised: Any, starts_s: Sequence[float] = ()
    ) -> Any:
        rows = torch.tensor(workers)
        x = self._x[rows]
        # Classes come before samples: a softmax over a short last axis takes three times as long.
        errors = torch.softmax(P @ x.mT, dim=1).sub_(self._y[rows])
        return (errors @ x).div_(x.shape[1])

    def realise(self, workers: list[int], Q: Any, rule: Any, update: int) -> Any:
        return Q.clone()

    def evaluate(self, workers: list[int], P: Any, Q: Any, z: Any, time_s: float = 0.0) -> dict[str, float]:
        return {"loss": 0.0, "accuracy": math.nan}


def scenario(task: CommonWork) -> Scenario:
    """All workers take one second a job, so that they report in turn; the server steps in no time."""
    steps = {} if task.mode == "sync" else {"wait_for": 1, "tau": NEVER}
    optimizer = {"kind": "sgd", "learning_rate": LEARNING_RATE}
    tables: dict[str, Any] = {
        "name": "common-work",
        "problem": CommonSoftmax(),
        "algorithm": {"kind": "fedbdpl", "optimizer": optimizer, **steps},
        "server": {"step_s": 0.0},
        "workers": [{"count": task.clients, "compute": {"kind": "constant", "value_s": 1.0}}],
        "budget": {"server_steps": task.rounds},
        "evaluation": {"every_steps": NEVER, "max_workers": 1},
    }
    return parse(tables)


def prepare(task: CommonWork) -> ReadyRunner:
    """The data, the learner and the record of steps."""
    CommonSoftmax.work = task
    chosen = scenario(task)
    streams = Streams(chosen.seed)
    torch.set_grad_enabled(False)
    learner: Any = chosen.algorithm.open(Bench(chosen.problem, chosen.n_workers, streams, chosen.assigned))
    recorder = Recorder(chosen, learner, None)

    def run() -> np.ndarray:
        run_timeline(timeline(chosen), recorder, streams)
        return learner.state.z.mT.numpy()

    if task.mode == "sync":
        return ReadyRunner("fedavg", run, (EXACT,))
    adds = "it adds what a client did to the model it had read, which is FedBuff with a buffer of one"
    return ReadyRunner("fedbuff", run, (EXACT, adds))


if __name__ == "__main__":
    main("fedsim", "fedsim-icl", prepare)
