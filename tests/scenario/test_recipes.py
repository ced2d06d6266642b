"""The recipes of CONTRIBUTING.md, tried from outside: a package of parts that does as they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import LIMIT_S

from fedsim.results import find_runs
from fedsim.scenario import load_scenario
from fedsim.scenario.schema import FAMILIES
from fedsim.simulation import run
from fedsim.streams import Streams
from fedsim.verify import verify

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()

PARTS = '''
from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsim.icl.attacks import Access, DataAttack
from fedsim.icl.models import BlackBox
from fedsim.icl.models.base import Prompts, Scorer
from fedsim.icl.tasks import Task
from fedsim.icl.tasks.base import TaskData
from fedsim.icl.tasks.gaussian import Latent, SurrogateParameters, draw_data, draw_latent
from fedsim.learning.attacks import MessageAttack
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.attacks.base import Conduct
from fedsim.timing.availability import Availability, Stretch
from fedsim.timing.delays import Delay
from fedsim.timing.llm_service import Calls, LlmProvider, LlmService, Served
from fedsim.timing.network import Carrier, LinkUse, Message, Network
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import SERVER, NetworkPlan, Wire, worker_node
from fedsim.timing.network.topology import Topology

if TYPE_CHECKING:
    import simpy
    from torch import Tensor

    from fedsim.problems.base import Questions


class Triangular(Delay):
    """From 0 to `high_s`, most often in the middle. Source: a textbook law."""

    kind: Literal["triangular"] = "triangular"
    high_s: float

    @property
    def mean_value_s(self) -> float:
        return self.high_s / 2

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return generator.triangular(0, self.high_s / 2, self.high_s, size)


class Chain(Topology):
    """Worker after worker, the first one at the server. Source: a path graph."""

    kind: Literal["chain"] = "chain"
    link: Link = Link(mbps=1.0)

    def plan(self, n_workers: int) -> NetworkPlan:
        nodes = [SERVER, *(worker_node(number) for number in range(n_workers))]
        wires = [Wire(nodes[number], nodes[number + 1], self.link) for number in range(n_workers)]
        return NetworkPlan(wires, SERVER, nodes[1:])


class Slow(Network):
    """Messages take `extra_s` more than their access. Source: us."""

    kind: Literal["slow"] = "slow"
    extra_s: float = 0.1

    def open(self, env: simpy.Environment, streams: Streams, groups: Sequence[int]) -> Carrier:
        return SlowCarrier(env, self.extra_s)


class SlowCarrier:
    def __init__(self, env: simpy.Environment, extra_s: float) -> None:
        self.env = env
        self.extra_s = extra_s

    def carry(self, message: Message) -> Generator[simpy.Event, object, None]:
        yield self.env.timeout(message.latency_s + message.n_bytes * message.s_per_byte + self.extra_s)

    def links(self, end_s: float) -> list[LinkUse]:
        return []


class Oracle(LlmProvider):
    """All calls of a job take a second. Source: us."""

    kind: Literal["oracle"] = "oracle"

    def open(
        self,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        groups: Sequence[int],
        keep_levels: bool,
    ) -> LlmService:
        return OpenOracle(env, clock)


class OpenOracle:
    def __init__(self, env: simpy.Environment, clock: ActivityClock) -> None:
        self.env = env
        self.clock = clock

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        if calls.booked:
            self.clock.switch(calls.worker, Activity.CALLING, self.env.now)
        yield self.env.timeout(calls.scale)

    def served(self) -> Served:
        return Served()


class Nights(Availability):
    """On for half of every `day_s`. Source: us."""

    kind: Literal["nights"] = "nights"
    day_s: float = 10.0

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        day = 0
        while True:
            late_s = streams.seat(Stream.AVAILABILITY, worker, day).uniform(0, self.day_s / 4)
            yield day * self.day_s + late_s, (day + 0.5) * self.day_s
            day += 1


class Mine(Task):
    """Two classes of the surrogate. Source: us."""

    kind: Literal["mine"] = "mine"
    parameters: SurrogateParameters

    @property
    def class_counts(self) -> tuple[int, ...]:
        return (20, 20)

    def draw(
        self, streams: Streams, n_workers: int, pooled: int = 1, dirichlet_alpha: float | None = None
    ) -> TaskData[Latent]:
        latent = draw_latent(self.parameters, self.n_classes, self.n_candidates, 0)
        return draw_data(self, latent, streams, n_workers, pooled, dirichlet_alpha)


class Coin(BlackBox):
    """All labels are as likely. Source: us."""

    kind: Literal["coin"] = "coin"

    def attach(self, data: TaskData[Any]) -> Scorer:
        return CoinScorer(data)


class CoinScorer:
    questions: Questions | None = None

    def __init__(self, data: TaskData[Any]) -> None:
        self.data = data

    def scores(self, prompts: Prompts) -> Tensor:
        import torch

        drawn = prompts.words if prompts.words is not None else prompts.demonstrations
        n_samples = 1 if drawn is None else drawn.shape[-1]
        queries = getattr(self.data, prompts.split).y
        n_queries = queries.shape[1] if prompts.queries is None else prompts.queries.shape[1]
        n_classes = self.data.demonstrations.y.shape[1]
        return torch.full((len(prompts.workers), n_samples, n_classes, n_queries), 1 / n_classes).double()


class Shout(MessageAttack):
    """Ten times its own. Source: us."""

    kind: Literal["shout"] = "shout"

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        return 10 * own


class Swap(DataAttack):
    """Training queries of the first class are said to be of the second. Source: us."""

    kind: Literal["swap"] = "swap"

    def apply(
        self,
        data: TaskData[Any],
        clients: Collection[int],
        streams: Streams,
        pooled: int = 1,
        access: Access | None = None,
    ) -> TaskData[Any]:
        y = data.train.y.copy()
        for client in clients:
            y[client // pooled] = 1
        return data._replace(train=data.train._replace(y=y))


class Nap(TimingAttack):
    """Sends everything a second late. Source: us."""

    kind: Literal["nap"] = "nap"

    def conduct(self, start_s: float) -> Conduct:
        return Conduct(sends_s=lambda ready_s: ready_s + 1)
'''

GAUSSIAN = (
    "problem={{ kind = 'icl', n_samples = 2, model = {{ kind = '{}' }}, task = {{ kind = 'recipes:Mine', "
    "n_words = 2, n_candidates = 3, n_demonstrations = 5, parameters = {{ base_alignment = 0.5, "
    "demo_step = 0.1, label_bias = 0.1, word_gain = 0.1 }} }} }}"
)


SHOWN = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
"""The examples of the document, each a module of its own."""


@pytest.fixture(autouse=True)
def recipes(tmp_path, monkeypatch):
    """The package of these parts, and the examples of the document."""
    (tmp_path / "recipes.py").write_text(PARTS)
    for source in SHOWN:
        (part,) = re.findall(r"^class (\w+)\(", source, re.M)
        (tmp_path / f"shown_{part.lower()}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT)


ALGORITHM = "algorithm.kind=scenarios.features.server_momentum:ServerMomentum"

MADE = {
    "delay": ["llm.latency={ kind = 'recipes:Triangular', high_s = 2.0 }"],
    "topology": ["network={ kind = 'recipes:Chain' }"],
    "network": ["network={ kind = 'recipes:Slow' }"],
    "llm": ["llm={ kind = 'recipes:Oracle' }"],
    "availability": ["workers.0.availability={ kind = 'recipes:Nights' }"],
    "messages": ["attacks=[{ kind = 'recipes:Shout', workers = [1] }]"],
    "timing": ["attacks=[{ kind = 'recipes:Nap', workers = [1] }]"],
    "task": [GAUSSIAN.format("surrogate")],
    "black box": [GAUSSIAN.format("recipes:Coin")],
    "data": [GAUSSIAN.format("surrogate"), "attacks=[{ kind = 'recipes:Swap', workers = [1] }]"],
    "aggregator": ["algorithm.aggregation={ outer = { kind = 'shown_midrange:Midrange', f = 0 } }"],
    "problem": ["problem={ kind = 'shown_targets:Targets' }"],
    "algorithm": [ALGORITHM, "algorithm.momentum=0.5"],
    "both": [ALGORITHM, "problem={ kind = 'shown_targets:Targets' }", "workers.0.upload_mbps=1.0"],
    "problem, centralised": ["algorithm.kind=cendbt", "problem={ kind = 'shown_targets:Targets' }"],
    "all at once": [
        "llm={ kind = 'recipes:Oracle' }",
        "network={ kind = 'recipes:Chain' }",
        "workers.0.availability={ kind = 'recipes:Nights' }",
    ],
}


@pytest.mark.parametrize("case", MADE)
def test_a_part_by_its_recipe_runs_and_its_books_hold(command, small, case):
    settings = [word for setting in MADE[case] for word in ("--set", setting)]
    answer = command("run", small, "--set", "record.spans=true", *settings)
    assert answer.code == 0, answer.err
    (folder,) = find_runs(Path("results"))
    assert [check for check in verify(folder) if check.violation] == []


def test_what_the_recipes_ask_for_passes_mypy(tmp_path):
    """The package above, the examples that the recipes show, and those that they link."""
    files = [tmp_path / "recipes.py", *sorted(tmp_path.glob("shown_*.py"))]
    files += [ROOT / "scenarios/features/server_momentum.py", ROOT / "tests/algorithms/incremental.py"]
    # Of fedsim mypy knows already what it has found with these settings; here everything is strict.
    settings = tmp_path / "pyproject.toml"
    modules = [file.stem for file in files]
    strict = f"[[tool.mypy.overrides]]\nmodule = {modules}\nwarn_return_any = true\n"
    settings.write_text((ROOT / "pyproject.toml").read_text() + strict)
    known = ["--config-file", settings, "--cache-dir", ROOT / ".mypy_cache"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *known, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(files) == 3 + len(SHOWN) > 5


# With steps of 0.5 the workers go half of the way to their targets in each round, and so does their mean.
def test_the_problem_of_the_recipe_by_hand(small):
    settings = ["algorithm={ kind = 'fedbdpl', optimizer = { kind = 'sgd', learning_rate = 0.5 } }"]
    settings += ["problem={ kind = 'shown_targets:Targets' }", "evaluation.every_steps=1"]
    found = run(load_scenario(small, overrides=settings))
    targets = found.scenario.problem.prepare(Streams(0), 3).targets[:, 0].numpy()
    p = np.full(5, 0.2)
    for loss in found.steps.loss:
        assert loss == pytest.approx(((p - targets) ** 2).sum(1).mean() / 2, rel=1e-12)
        p = (p + targets.mean(0)) / 2
    pooled = found.scenario.problem.prepare(Streams(0), 1, 3).targets[0, 0]
    assert pooled.numpy() == pytest.approx(targets.mean(0))


def test_the_table_of_families_is_complete():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TEXT.splitlines()
        if line.startswith("| ") and "`fedsim." in line
    ]
    assert [row[0] for row in rows] == list(FAMILIES)
    for name, base, group, example, assumes in rows:
        family = FAMILIES[name]
        assert group.split("`")[1] == f"fedsim.{name}"
        module, _, cls = base.strip("`").rpartition(".")
        assert (module, cls) == (family.base.__module__, family.base.__name__)
        file = ROOT / "fedsim" / example.strip("`")
        homes = {Path(sys.modules[part.__module__].__file__ or "") for part in family.builtin.values()}
        assert file in homes, f"{example} holds no built-in part of {name}"
        assert assumes
