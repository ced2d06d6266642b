"""The learning half on a GPU: the same results where there is one, and no tensor left on the processor."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from learning_cases import SURROGATE
from pydantic import ValidationError
from torch.overrides import TorchFunctionMode
from torch.utils import _device

import fedsim
from fedsim.errors import InputError
from fedsim.learning import device
from fedsim.problems.quadratic import Quadratic
from fedsim.results.addresses import run_id
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse

ROOT = Path(fedsim.__file__).parent
COMPUTED_THERE = ["learning", "algorithms/averaging", "algorithms/dbt", "algorithms/local", "problems/icl"]
COMPUTED_THERE += [
    "problems/quadratic.py",
    "problems/softmax.py",
    "icl/models/fitted",
    "icl/models/linear_attention.py",
]
"""Code that a run on a GPU goes through."""

TASK = {
    "kind": "synthetic",
    "parameters": SURROGATE,
    "n_words": 3,
    "n_candidates": 5,
    "n_demonstrations": 4,
    "train_per_class": 4,
    "validation_per_class": 2,
}
CUTS = {"z_rate": 0.01, "cuts": {"every": 3, "rounds": 2}, "polyhedron": {"only_if_violated": False}}
PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratic": {"kind": "quadratic", "noise_std": 0.1},
    "softmax": {"kind": "softmax", "features": 4, "batch_size": 5},
    "icl": {"kind": "icl", "task": TASK, "also_measured": ["consensus", "validation", "sampled"], "batch": 4},
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "asyndbt": {
        "kind": "asyndbt",
        "wait_for": 1,
        "tau": 9,
        "optimizer": {"kind": "adam", "learning_rate": 0.05},
        **CUTS,
    },
    "robust": {"kind": "asyndbt", "wait_for": 2, "tau": 9, **CUTS, "robust": {"outer": "R1"}},
    "krum": {"kind": "fedbdpl", "aggregation": {"outer": {"kind": "krum", "f": 1}}},
    "fedbdpl": {"kind": "fedbdpl", "wait_for": 1, "tau": 9},
    "fedasync": {"kind": "fedasync", "local_steps": 2, "rho": 0.1},
    "fedbuff": {"kind": "fedbuff", "buffer": 2},
    "cendbt": {"kind": "cendbt", **{key: CUTS[key] for key in ("cuts", "polyhedron")}},
    "bdpl": {"kind": "bdpl"},
}


def scenario(problem: str = "quadratic", algorithm: str = "asyndbt", **more: Any) -> Scenario:
    llm = {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.1}}
    return parse(
        {
            "name": "on-a-device",
            "algorithm": ALGORITHMS[algorithm],
            "problem": PROBLEMS[problem],
            "workers": [{"count": 5, "compute": {"kind": "exponential", "mean_s": 0.05}}],
            **({} if problem == "softmax" else {"llm": llm}),
            "budget": {"worker_updates": 20},
            "evaluation": {"every_updates": 5},
            **more,
        }
    )


class OnGpu(torch.Tensor):
    """Stands for a tensor in a GPU's memory, with which one elsewhere cannot be combined."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.numpy:
            assert kwargs == {"force": True}, "a GPU's tensor cannot be an array as it is"
            return args[0].as_subclass(torch.Tensor).numpy()
        for value in _tensors((args, kwargs or {})):
            assert isinstance(value, OnGpu) or value.dim() == 0, f"{func.__name__} of two devices"
        return super().__torch_function__(func, types, args, kwargs or {})


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


class Factories(TorchFunctionMode):
    """Lets tensors be made on the pretended GPU, as `torch.device` does on a real one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found.as_subclass(OnGpu) if func in _device._device_constructors() else found


class Pretended:
    """A device to which `Tensor.to` is said to have moved a tensor."""


@contextmanager
def on_pretended_gpu(name: str | None) -> Iterator[None]:
    before = device._gpu.set(Pretended())  # type: ignore[arg-type]
    with Factories():
        yield
    device._gpu.reset(before)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs use a GPU that is none: the processor computes, and no tensor may be left out."""
    to = torch.Tensor.to

    def moved(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if args and isinstance(args[0], Pretended):
            return tensor.as_subclass(OnGpu)
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", moved)
    monkeypatch.setattr(device, "on_device", on_pretended_gpu)


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_tensor_of_a_run_stays_behind(
    problem: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = fedsim.run(scenario(problem, algorithm))
    monkeypatch.undo()
    here = fedsim.run(scenario(problem, algorithm))
    assert there.steps.equals(here.steps)
    assert here.summary["worker_updates"] >= 20
    assert here.summary.get("cuts", 1) > 0


@pytest.mark.usefixtures("pretended")
def test_a_tensor_that_stays_behind_is_noticed() -> None:
    with on_pretended_gpu("cuda"):
        there = torch.zeros(3)
    with pytest.raises(AssertionError, match="add of two devices"):
        there + torch.ones(3)
    with pytest.raises(AssertionError, match="cannot be an array"):
        there.numpy()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_gpu_gives_the_same_results(problem: str, algorithm: str) -> None:
    here = fedsim.run(scenario(problem, algorithm))
    there = fedsim.run(scenario(problem, algorithm, device="cuda"))
    assert there.steps.columns.equals(here.steps.columns)
    for column in here.steps.select_dtypes("number"):
        np.testing.assert_allclose(there.steps[column], here.steps[column], rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_where_there_is_no_gpu_a_run_says_so() -> None:
    with pytest.raises(InputError, match=r'^device: found "cuda", expected "cpu": torch .* finds no GPU'):
        fedsim.run(scenario(device="cuda"))
    assert fedsim.run(scenario(device="cuda"), timing_only=True).summary["worker_updates"] >= 20


def test_the_processor_is_what_computes_unless_something_else_is_stated() -> None:
    assert run_id(scenario(device="cpu")) == run_id(scenario())
    assert run_id(scenario(device="cuda")) != run_id(scenario())


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"device: found 'gpu', expected 'cpu' or 'cuda'"):
        scenario(device="gpu")


def test_a_device_that_computes_nothing_is_refused() -> None:
    class Elsewhere(Quadratic):
        kind: Literal["elsewhere"] = "elsewhere"  # type: ignore[assignment]
        on_device: ClassVar[bool] = False

    table = scenario().model_dump(exclude={"problem"}, exclude_unset=True)
    with pytest.raises(ValidationError, match="device: has no effect: problem 'elsewhere' is computed"):
        Scenario(**table, problem=Elsewhere(), device="cuda")


@pytest.mark.parametrize("place", COMPUTED_THERE)
def test_arrays_become_tensors_at_one_door(place: str) -> None:
    files = sorted((ROOT / place).rglob("*.py")) if (ROOT / place).is_dir() else [ROOT / place]
    assert files
    for file in set(files) - {ROOT / "learning" / "device.py"}:
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute):
                assert called.attr not in {"numpy", "from_numpy", "as_tensor"}, f"{file}:{called.lineno}"
