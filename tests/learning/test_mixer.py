"""The quick form of asynchronous averaging takes the steps of the general one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learning_cases import SURROGATE

import fedsim
from fedsim.algorithms.averaging import mixer
from fedsim.algorithms.averaging.averager import Average, Averager, Stale
from fedsim.algorithms.averaging.mixer import Mixer
from fedsim.algorithms.base import Bench
from fedsim.attack import Assigned
from fedsim.learning.attacks.honest import Honest
from fedsim.learning.attacks.sign_flip import SignFlip
from fedsim.learning.batching import Job
from fedsim.learning.optimizers.sgd import Sgd
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse
from fedsim.streams import Streams

TASK = {"kind": "synthetic", "parameters": SURROGATE, "n_words": 3, "n_candidates": 5, "n_demonstrations": 4}
PROBLEMS: dict[str, dict[str, Any]] = {
    "softmax": {"kind": "softmax", "features": 3, "classes": 3, "samples_per_worker": 5, "batch_size": 2},
    "quadratic": {"kind": "quadratic", "noise_std": 0.1},
    "icl": {"kind": "icl", "task": TASK | {"train_per_class": 2, "validation_per_class": 1}},
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "fedasync": {"kind": "fedasync", "local_steps": 2, "rho": 0.1},
    "hinge": {"kind": "fedasync", "staleness": "hinge", "b": 1},
    "fedbuff": {"kind": "fedbuff", "buffer": 1},
    "buffer of three": {"kind": "fedbuff", "buffer": 3, "server_rate": 0.7, "weighs_staleness": False},
}


def scenario(problem: str, algorithm: str) -> Scenario:
    optimizer = {"kind": "adam", "learning_rate": 0.05}
    group = {"count": 3, "compute": {"kind": "exponential", "mean_s": 1.0}}
    comes_and_goes = {"kind": "on_off", "on": {"kind": "exponential", "mean_s": 6.0}}
    comes_and_goes["off"] = {"kind": "exponential", "mean_s": 3.0}
    returning = group | {"name": "returning", "availability": comes_and_goes, "on_return": "rejoin"}
    return parse(
        {
            "name": "mixed",
            "algorithm": ALGORITHMS[algorithm] | {"optimizer": optimizer},
            "problem": PROBLEMS[problem],
            "workers": [group, returning],
            "server": {"evict_after_s": 5.0, "readmit": True},
            "budget": {"worker_updates": 60},
            "evaluation": {"every_updates": 7},
            **(
                {"llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.1}}}
                if problem != "softmax"
                else {}
            ),
        }
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_takes_the_steps_of_the_general_form(
    problem: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Averager] = []
    quick = mixer.Mixer

    def watched(*arguments: Any) -> Averager:
        opened.append(quick(*arguments))
        return opened[-1]

    monkeypatch.setattr(mixer, "Mixer", watched)
    mixed = fedsim.run(scenario(problem, algorithm))
    assert len(opened) == 1
    monkeypatch.setattr(mixer, "Mixer", lambda *given: Averager(*given[:3], stale=given[3], rho=given[4]))
    general = fedsim.run(scenario(problem, algorithm))
    for column in general.steps.select_dtypes("number"):
        np.testing.assert_allclose(mixed.steps[column], general.steps[column], rtol=0, atol=1e-12)
    assert general.summary["worker_updates"] >= 60
    assert general.steps.staleness_max.max() > 1


def test_who_forges_messages_is_seen_by_the_general_form() -> None:
    def opened(attack: Any) -> Averager:
        bench = Bench(Quadratic(), 3, Streams(0), [Assigned(attack, frozenset({1}))])
        return mixer.averager(bench, Sgd(learning_rate=0.1), 1, Stale(lambda age: 1.0, False))

    assert not isinstance(opened(SignFlip(workers=(1,))), Mixer)
    assert isinstance(opened(Honest(workers=(1,))), Mixer)


@pytest.mark.parametrize("from_read", [True, False])
def test_a_message_that_is_no_number_is_turned_away(from_read: bool) -> None:
    bench = Bench(Quadratic(), 3, Streams(0))
    mixed = Mixer(bench, Sgd(learning_rate=0.1), 1, Stale(lambda age: 0.5, from_read))
    upper = mixed._oracle.upper

    def broken(workers: list[int], *given: Any) -> Any:
        by_p, by_q = upper(workers, *given)
        by_p[workers.index(1)] = torch.inf
        return by_p, by_q

    mixed._oracle.upper = broken  # type: ignore[method-assign]
    for worker in range(3):
        mixed.hand_out(Job(worker, 0, "local", mixed.first()))
    read = Snapshot(0, mixed.first())
    first = mixed.take_step([Ticket(1, 0, "local", read, 0.0, 1.0)])
    assert torch.equal(first.z, read.content.z)
    assert mixed.counts()["rejected"] == 1
    assert mixed.counts()["fallbacks"] == 1
    theta = torch.full_like(read.content.z, 0.3)
    mixed.state = Average(theta)
    second = mixed.take_step([Ticket(worker, 0, "local", read, 0.0, 1.0) for worker in range(3)])
    base = read.content.z if from_read else theta
    torch.testing.assert_close(second.z - theta, 0.25 * (mixed.tables.P[0] + mixed.tables.P[2] - 2 * base))
    assert mixed.counts()["rejected"] == 2
