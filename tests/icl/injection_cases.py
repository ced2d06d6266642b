"""A small injection problem: a random Llama of two layers, and a few short texts of three classes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from text_cases import write_jsonl
from tiny_weights import write_random_weights

from fedsim.algorithms.base import Bench
from fedsim.algorithms.ifedicl.store import Learned
from fedsim.attack import Assigned
from fedsim.icl.attacks import DATA_ATTACKS
from fedsim.problems.injection.oracle import InjectionOracle
from fedsim.problems.injection.problem import InjectionProblem
from fedsim.scenario import Scenario, parse
from fedsim.streams import Streams

Table = dict[str, Any]

WORDS = ("up", "on", "in", "by", "at", "to", "so", "as", "or", "if", "of", "do")
PROMPT = {
    "question": "{{ text_a }}",
    "demonstration": "{{ question }}: {{ label }}",
    "query": "{{ question }}: ",  # so that labels begin with a letter, which the random Llama may answer
    "separator": "\n",
    "labels": ["Yes", "No", "Go"],
}


@cache
def known_task() -> str:
    """Return a file of a task store, for the problem as it is."""
    learned = Learned.of(problem(), torch.ones(2, 2, 64), torch.tensor([0.5, 1.0]).expand(2, 2, 2))
    file = Path(_folder().name) / "learned.json"
    file.write_text(learned.text())
    return str(file)


def rows(n_each: int = 12) -> list[Table]:
    """Return so many texts of three classes for training, and four for testing, all different."""
    return [
        {"id": f"{split}{label}{i}", "split": split, "text_a": f"{WORDS[i]} {n}{label}", "label": label}
        for split, n, count in (("train", 1, n_each), ("test", 2, 4))
        for i in range(count)
        for label in range(3)
    ]


@cache
def _folder() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory()
    write_random_weights(Path(folder.name) / "random.gguf")
    write_jsonl(Path(folder.name), rows(), "texts.jsonl")
    return folder


def weights() -> str:
    """Return the file of the random Llama."""
    return str(Path(_folder().name) / "random.gguf")


def texts() -> str:
    """Return the file of the texts."""
    return str(Path(_folder().name) / "texts.jsonl")


def problem_table(**settings: Any) -> Table:
    """Return the table of the problem: a worker has two texts of each class, six in all."""
    task = {"kind": "text", "file": texts(), "prompt": PROMPT, "train_per_class": 2, "test_counts": [4, 3, 2]}
    table = {"kind": "injection", "batch": 3, "model": {"kind": "open_weights", "weights": weights()}}
    task |= settings.pop("task", {})
    return table | {"task": task} | settings


def problem(**settings: Any) -> InjectionProblem:
    """Return the problem with other settings."""
    return InjectionProblem.model_validate(problem_table(**settings))


def oracle(n_workers: int = 2, attacks: list[Table] | None = None, **settings: Any) -> InjectionOracle:
    """Return the problem with its data in place, some of the workers attacking them."""
    made = [DATA_ATTACKS.validate(attack) for attack in attacks or ()]
    assigned = [Assigned(attack, attack.members(n_workers, 3)) for attack in made]  # type: ignore[attr-defined]
    return problem(**settings).prepare(Streams(3), n_workers, 1, assigned)


def bench(n_workers: int = 2, attacks: tuple[Assigned, ...] = (), **settings: Any) -> Bench:
    """Return what a learner is opened on."""
    return Bench(problem(**settings), n_workers, Streams(3), attacks)


def scenario(algorithm: Table | None = None, problem: Table | None = None, **more: Any) -> Scenario:
    """Return a scenario of three workers and three rounds of two steps."""
    own = algorithm or {}
    method, made = {"kind": "ifedicl", "local_steps": 2} | own, problem_table(**(problem or {}))
    workers: list[Table] = [{"count": 3, "own_model": {"token_s": 0.01}}]
    if "task_store" in own:  # nothing is computed
        workers = [{"count": 3, "download_mbps": 1.0}]
        del method["local_steps"], made["batch"]
    table = {"name": "tiny", "algorithm": method, "problem": made}
    table |= {"workers": workers, "budget": {"epochs": 3}, "evaluation": {"every_updates": 3}}
    return parse(table | more)
