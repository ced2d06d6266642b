"""What a stranger's part returns is checked where it enters, and it cannot change what it is given."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fedsim.answering import AnswerError, copied

PARTS = """
import math
from typing import Any

import numpy as np
import torch

from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.algorithms.base import Algorithm
from fedsim.learning.aggregators import Aggregator
from fedsim.learning.filters import Filter
from fedsim.learning.optimizers import Optimizer
from fedsim.learning.preaggregators import Preaggregator
from fedsim.problems.quadratic import Quadratic
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.attacks.base import Conduct
from fedsim.timing.availability import Availability
from fedsim.timing.delays import Delay
from fedsim.timing.llm_service import LlmProvider, Served
from fedsim.timing.network import LinkUse, Network
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import NetworkPlan, Wire
from fedsim.timing.network.topology import Topology

VALUES = {"nan": math.nan, "inf": math.inf, "negative": -1.0, "text": "one", "none": None, "list": [1.0, 2.0]}


class Draws(Delay):
    wrongly: str = "nan"
    mean_s: float = 1.0

    @property
    def mean_value_s(self):
        return self.mean_s if self.mean_s < 9 else "nine"

    def sample(self, generator, size):
        if self.wrongly == "short":
            return np.ones(size + 1)
        if self.wrongly == "complex":
            return np.ones(size, dtype=complex)
        if self.wrongly in ("text", "none", "list"):
            return VALUES[self.wrongly]
        return np.full(size, VALUES[self.wrongly])


class On(Availability):
    wrongly: str = "nan"

    def stretches(self, streams, worker, place):
        if self.wrongly == "none":
            return None
        return iter({
            "nan": [(0.0, math.nan)],
            "back": [(5.0, 7.0), (1.0, 2.0)],
            "turned": [(3.0, 1.0)],
            "text": ["on"],
            "still": (tuple(pair) for pair in iter(lambda: [0.0, 0.0], None)),
        }[self.wrongly])


class Joins(Availability):
    def joins_s(self, streams, worker):
        return "soon"

    def stretches(self, streams, worker, place):
        yield 0.0, math.inf


class Opened:
    def __init__(self, env, returns):
        self.env, self.wrongly = env, returns

    def serve(self, calls):
        if self.wrongly == "none":
            return None
        return self._serve()

    def _serve(self):
        yield {"nan": lambda: self.env.timeout(math.nan), "text": lambda: "soon"}.get(
            self.wrongly, lambda: self.env.timeout(0.5))()

    carry = serve

    def served(self):
        return {"served": "many", "count": Served(requests=-3)}.get(self.wrongly, Served())

    def links(self, end_s):
        use = LinkUse("a", "b", 1.0, 1.0, math.nan, 0.0)
        return {"links": [("a", "b")], "use": [use]}.get(self.wrongly, [])


class Service(LlmProvider):
    wrongly: str = "nan"

    def open(self, env, streams, clock, groups, keep_levels):
        return object() if self.wrongly == "object" else Opened(env, self.wrongly)

    def price(self, tokens_in, tokens_out, tokens_cached=0):
        return math.nan if self.wrongly == "price" else 0.0

    def cached_tokens(self, cost):
        return cost.tokens_in + 1 if self.wrongly == "cached" else 0


class Net(Network):
    wrongly: str = "nan"

    def open(self, env, streams, groups):
        return "net" if self.wrongly == "object" else Opened(env, self.wrongly)


class Graph(Topology):
    wrongly: str = "nan"

    def plan(self, n_workers):
        workers = [f"w{number}" for number in range(n_workers)]
        wires = [Wire("s", worker, Link(), math.nan if self.wrongly == "nan" else 0.0) for worker in workers]
        return {
            "none": None,
            "few": NetworkPlan(wires, "s", workers[1:]),
            "lost": NetworkPlan(wires, "server", workers),
            "pairs": NetworkPlan([("s", "w0")], "s", workers),
        }.get(self.wrongly, NetworkPlan(wires, "s", workers))


class Times(TimingAttack):
    wrongly: str = "none"

    def conduct(self, start_s):
        return {
            "none": None,
            "margin": Conduct(margin_steps=1.5),
            "sends": Conduct(sends_s=3.0),
            "back": Conduct(sends_s=lambda ready_s: ready_s - 1),
            "nan": Conduct(sends_s=lambda ready_s: math.nan),
        }[self.wrongly]


def wrong(rows, how):
    if how == "nan":
        return torch.full_like(rows, math.nan)
    return {
        "shape": rows[..., None], "array": rows.numpy(), "none": None, "complex": rows.to(torch.complex128)
    }[how]


class Rule(Aggregator):
    wrongly: str = "nan"

    @property
    def least_rows(self):
        return "one" if self.wrongly == "least" else 1

    def _combined(self, rows, previous):
        if self.wrongly == "spoils":
            previous.fill_(1e6)
            rows.fill_(7.0)
            return previous * 0 + 0.25
        if self.wrongly == "fine":
            return previous * 0 + 0.25
        return wrong(rows.mean(0), self.wrongly)


class Before(Preaggregator):
    wrongly: str = "nan"

    def rows_left(self, m):
        return -1 if self.wrongly == "left" else m

    def apply(self, rows, previous):
        return rows[:0] if self.wrongly == "few" else wrong(rows, self.wrongly)


class Judge(Filter):
    wrongly: str = "nan"

    def open(self, n_workers, trusted=None, calls_each=0):
        return None if self.wrongly == "object" else Judging(self.wrongly)


class Judging:
    refused = calls = 0

    def __init__(self, returns):
        self.wrongly = returns

    def passed(self, arrivals, previous):
        rows = torch.stack([arrival.message for arrival in arrivals])
        return rows[0] if self.wrongly == "one" else wrong(rows, self.wrongly)


class Steps(Optimizer):
    wrongly: str = "nan"

    @property
    def n_moments(self):
        return -1 if self.wrongly == "moments" else 0

    def step(self, gradient, moments, count):
        return wrong(gradient, self.wrongly)


class Bowl(Quadratic):
    wrongly: str = "nan"

    def cost(self, pooled=1):
        cost = super().cost(pooled)
        return cost._replace(calls=1.5) if self.wrongly == "cost" else cost

    def prepare(self, streams, n_workers, pooled=1, attacks=()):
        oracle = super().prepare(streams, n_workers, pooled, attacks)
        return "oracle" if self.wrongly == "object" else Oracle(oracle, self.wrongly)


class Oracle:
    def __init__(self, oracle, returns):
        self.oracle, self.wrongly = oracle, returns
        self.start_p, self.start_q = oracle.start_p, oracle.start_q
        self.on_simplex, self.questions = oracle.on_simplex, None
        if returns == "start":
            self.start_p = self.start_p.tolist()

    def upper(self, workers, jobs, P, Q, starts_s=()):
        by_p, by_q = self.oracle.upper(workers, jobs, P, Q, starts_s)
        if self.wrongly == "one":
            return by_p
        if self.wrongly == "spoils":
            P.fill_(1e3)
            Q.mul_(-1.0)
        if self.wrongly in ("nan", "shape", "none", "array"):
            by_p = wrong(by_p, self.wrongly)
        return by_p, by_q

    def lower(self, workers, jobs, P, realised, starts_s=()):
        found = self.oracle.lower(workers, jobs, P, realised, starts_s)
        return found[:, :0] if self.wrongly == "lower" else found

    def realise(self, workers, Q, rule, update):
        found = self.oracle.realise(workers, Q, rule, update)
        return None if self.wrongly == "realise" else found

    def evaluate(self, workers, P, Q, z, time_s=0.0):
        if self.wrongly == "spoils":
            found = self.oracle.evaluate(workers, P.clone(), Q.clone(), z.clone(), time_s)
            P.zero_()
            z.fill_(5.0)
            return found | {"loss": 1.0}
        found = self.oracle.evaluate(workers, P, Q, z, time_s)
        if self.wrongly == "fine":
            return found | {"loss": 1.0}
        return {"measures": {"accuracy": 1.0}, "loss": {"loss": "low"}}.get(self.wrongly, found)


class Method(Fedbdpl):
    wrongly: str = "schedule"

    def schedule(self, setting):
        found = super().schedule(setting)
        return {"schedule": None, "rule": found._replace(rule=3), "work": found._replace(work={})}.get(
            self.wrongly, found)

    def open(self, bench):
        return None if self.wrongly == "object" else Learner(super().open(bench), self.wrongly)


class Learner:
    def __init__(self, learner, returns):
        self.learner, self.wrongly = learner, returns

    def __getattr__(self, name):
        return getattr(self.learner, name)

    def counts(self):
        return {"counts": 3, "names": {"other": 1}}.get(self.wrongly, self.learner.counts())

    def evaluate(self, workers, time_s):
        return 0.5 if self.wrongly == "measures" else self.learner.evaluate(workers, time_s)
"""


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    (tmp_path / "answering_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)


DELAY = "workers.0.compute={{ kind = 'answering_parts:Draws', wrongly = '{}' }}"
ON = "workers.0.availability={{ kind = 'answering_parts:On', wrongly = '{}' }}"
LLM = "llm={{ kind = 'answering_parts:Service', wrongly = '{}' }}"
NET = "network={{ kind = 'answering_parts:Net', wrongly = '{}' }}"
GRAPH = "network={{ kind = 'answering_parts:Graph', wrongly = '{}' }}"
TIMES = "attacks=[{{ kind = 'answering_parts:Times', workers = [1], wrongly = '{}' }}]"
RULE = "algorithm.aggregation={{ outer = {{ kind = 'answering_parts:Rule', wrongly = '{}' }} }}"
BEFORE = (
    "algorithm.aggregation={{ outer = {{ kind = 'mean' }}, before = [{{ kind = 'answering_parts:Before', "
    "wrongly = '{}' }}] }}"
)
JUDGE = (
    "algorithm.aggregation={{ outer = {{ kind = 'mean' }}, rows = 'active', "
    "filter = {{ kind = 'answering_parts:Judge', "
    "wrongly = '{}' }} }}"
)
STEPS = "algorithm.optimizer={{ kind = 'answering_parts:Steps', learning_rate = 0.1, wrongly = '{}' }}"
BOWL = "problem={{ kind = 'answering_parts:Bowl', dimension = 3, wrongly = '{}' }}"
METHOD = "algorithm={{ kind = 'answering_parts:Method', wrongly = '{}' }}"

CLOCK = [
    *(
        (DELAY, how, "workers.0.compute: 'answering_parts:Draws' returned")
        for how in ("nan", "inf", "negative")
    ),
    *(
        (DELAY, how, "workers.0.compute: 'answering_parts:Draws' returned")
        for how in ("text", "none", "list")
    ),
    (
        DELAY,
        "short",
        "returned ndarray of float64 of shape (17,) from sample, expected an array of shape (16,)",
    ),
    (DELAY, "complex", "from sample, expected an array of shape (16,) with real numbers"),
    *(
        (ON, how, "workers.0.availability: 'answering_parts:On' returned")
        for how in ("nan", "back", "turned")
    ),
    *(
        (ON, how, "workers.0.availability: 'answering_parts:On' returned")
        for how in ("text", "none", "still")
    ),
    (LLM, "nan", "llm: 'answering_parts:Service' returned nan from serve, expected a number of seconds"),
    (LLM, "text", "returned 'soon' from serve, expected events only"),
    (LLM, "none", "returned None from serve, expected a process"),
    (LLM, "object", "from open, expected something with the method 'serve'"),
    (LLM, "served", "returned 'many' from served, expected a Served"),
    (LLM, "count", "requests is -3, expected a whole number from 0"),
    (LLM, "price", "returned nan from price, expected a number"),
    (LLM, "cached", "returned 1 from cached_tokens, expected at most tokens_in = 0"),
    (NET, "nan", "network: 'answering_parts:Net' returned nan from carry, expected a number of seconds"),
    (NET, "none", "returned None from carry, expected a process"),
    (NET, "object", "returned 'net' from open, expected something with the method 'carry'"),
    (NET, "links", "from links, expected a list of LinkUse"),
    (NET, "use", "from links, expected numbers from 0"),
    (GRAPH, "nan", "from plan, expected a Link, and an extra_s from 0"),
    (
        GRAPH,
        "none",
        "network: 'answering_parts:Graph' returned None from plan, expected a NetworkPlan of Wires",
    ),
    (GRAPH, "few", "returned ['w1', 'w2'] from plan, expected a node for each of 3 workers"),
    (GRAPH, "lost", "returned 'server' from plan, expected a node with a wire"),
    (GRAPH, "pairs", "from plan, expected a NetworkPlan of Wires"),
    (TIMES, "none", "attacks.0: 'answering_parts:Times' returned None from conduct, expected a Conduct"),
    (TIMES, "margin", "returned 1.5 from conduct, expected margin_steps that is a whole number from 0"),
    (TIMES, "sends", "returned 3.0 from conduct, expected sends_s that is a function of time"),
    (TIMES, "back", "from sends_s, expected a number from"),
    (TIMES, "nan", "returned nan from sends_s"),
]
LEARNING = [
    *(
        (RULE, how, "algorithm.aggregation.outer: 'answering_parts:Rule' returned")
        for how in ("nan", "shape")
    ),
    *(
        (RULE, how, "from _combined, expected a tensor of real numbers of shape (3)")
        for how in ("array", "none")
    ),
    (RULE, "complex", "returned Tensor of torch.complex128 of shape (3,) from _combined"),
    (BEFORE, "nan", "algorithm.aggregation.before.0: 'answering_parts:Before' returned nan from apply"),
    (BEFORE, "few", "from apply, expected a tensor of real numbers of shape"),
    (JUDGE, "nan", "algorithm.aggregation.filter: 'answering_parts:Judge' returned nan from passed"),
    (JUDGE, "one", "from passed, expected a tensor of real numbers of shape (any, 3)"),
    (JUDGE, "object", "returned None from open, expected something with the method 'passed'"),
    (STEPS, "nan", "algorithm.optimizer: 'answering_parts:Steps' returned nan from step, expected numbers"),
    (STEPS, "shape", "from step, expected a tensor of real numbers of shape"),
    (STEPS, "moments", "returned -1 from n_moments, expected a whole number from 0"),
    *((BOWL, how, "problem: 'answering_parts:Bowl' returned") for how in ("nan", "shape", "none", "array")),
    (BOWL, "one", "from upper, expected two gradients, by p and by q"),
    (BOWL, "lower", "from lower, expected a tensor of real numbers of shape"),
    (BOWL, "realise", "returned None from realise"),
    (BOWL, "object", "returned 'oracle' from prepare, expected something with the method 'realise'"),
    (BOWL, "start", "from prepare, start_p, expected a tensor of real numbers of shape (any, any)"),
    (BOWL, "measures", "from evaluate, expected a dict of measurements with 'loss'"),
    (BOWL, "loss", "returned 'low' from evaluate, expected a number for 'loss'"),
    (METHOD, "object", "algorithm: 'answering_parts:Method' returned None from open"),
    (METHOD, "counts", "returned 3 from counts, expected a whole number for each of"),
    (METHOD, "names", "returned {'other': 1} from counts, expected a whole number for each of"),
    (METHOD, "measures", "returned 0.5 from evaluate, expected a dict of measurements with 'loss'"),
]
BEFORE_THE_RUN = [
    (BEFORE, "left", "returned -1 from rows_left, expected a whole number from 0"),
    ("llm.latency={{ kind = 'answering_parts:Draws', mean_s = {} }}", "9.0", "from mean_value_s"),
    (RULE, "least", "returned 'one' from least_rows, expected a whole number from 1"),
    (BOWL, "cost", "calls is 1.5, expected a whole number from 0"),
    (METHOD, "schedule", "returned None from schedule, expected a Schedule"),
    (METHOD, "rule", "rule is 3, expected Steps or Rounds"),
    (METHOD, "work", "work is {}, expected its kinds of jobs by name"),
]


def words(setting, how):
    if setting is METHOD:
        # Fed-BDPL has none of AsynDBT's settings.
        return ["--set", setting.format(how), "--set", "algorithm.participants=2"]
    return ["--set", setting.format(how)]


@pytest.mark.parametrize(("setting", "how", "sentence"), CLOCK)
def test_an_answer_that_the_clock_cannot_use(command, small, strangers, setting, how, sentence):
    answer = command("run", small, "--timing-only", *words(setting, how))
    assert (answer.code, answer.out) == (1, "")
    told = answer.err.splitlines()[-1]
    assert told.startswith("fedsim: small: ")
    assert sentence in told


@pytest.mark.parametrize(("setting", "how", "sentence"), LEARNING)
def test_an_answer_that_the_learning_cannot_use(command, small, strangers, setting, how, sentence):
    answer = command("run", small, *words(setting, how))
    told = answer.err.splitlines()[-1]
    assert sentence in told
    assert told.startswith("fedsim: small: ")
    assert (answer.code, answer.out) == (1, "")


@pytest.mark.parametrize(("setting", "how", "sentence"), BEFORE_THE_RUN)
def test_an_answer_that_no_scenario_can_use(command, small, strangers, setting, how, sentence):
    answer = command("check", small, *words(setting, how))
    assert answer.code == 2
    assert "answering_parts:" in answer.err
    assert sentence in answer.err.splitlines()[-1]


@pytest.mark.parametrize("setting", [RULE, BOWL], ids=["rule", "problem"])
def test_a_part_that_writes_to_what_it_is_given_changes_nothing(command, small, strangers, setting):
    """Of each there is one that writes and one that does not, and they return the same."""
    told = {}
    for how in ("fine", "spoils"):
        answer = command("run", small, "--json", *words(setting, how))
        assert answer.code == 0
        told[how] = json.loads(answer.out)
    assert told["fine"] == told["spoils"]


def test_copies_go_as_deep_as_tuples_lists_and_tables():
    array = np.arange(3.0)
    given = ((array, "x"), [array], {"key": array})
    others = copied(given)
    others[0][0][0] = others[1][0][0] = others[2]["key"][0] = math.pi
    assert array.tolist() == [0, 1, 2]
    assert others[0][1] == "x"
    assert issubclass(AnswerError, Exception)
