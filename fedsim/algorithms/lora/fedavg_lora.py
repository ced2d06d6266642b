"""What federated fine-tuning of low-rank adapters costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.algorithms.base import Algorithm, Setting
from fedsim.algorithms.ifedicl.base import problem_of
from fedsim.attack import Attack
from fedsim.catalog import Strict
from fedsim.icl.attacks.base import DataAttack
from fedsim.learning.attacks.base import MessageAttack
from fedsim.messages import JobCost
from fedsim.problems.base import Offer
from fedsim.problems.injection.problem import InjectionProblem
from fedsim.schedule import Schedule, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.base import Bench, Learner


class Projections(Strict):
    """The shapes of a model's layers that adapters depend on."""

    n_layers: int = Field(ge=1)
    """L."""
    width: int = Field(ge=1)
    """Of the residual stream, and of the queries."""
    value_width: int = Field(ge=1)
    """Of the values: smaller than `width` where heads share them (grouped-query attention)."""


class FedavgLora(Algorithm):
    """Federated averaging of LoRA adapters, as a cost model: nothing is learned, and there is no accuracy.

    In a round each worker makes E local steps through the whole model and sends its adapters, which the
    server averages. An adapter of a matrix from a to b numbers has two matrices of ``r a`` and ``r b``
    numbers; the queries (d to d) and the values (d to the width of the values) of each layer have one. With r
    = 8 and LLaMA-3-8B, 32 layers, 4096 to 4096 and 4096 to 1024, that is ``32 * 8 * (8192 + 5120)`` =
    3,407,872 numbers, in single precision 13,312 KiB each way; IFed-ICL's Table 1 has 13,357.78 KB a round.

    Source: Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, section 4; as a
    baseline, Li et al., "IFed-ICL", arXiv 2511.06757, Table 1.
    """

    kind: Literal["fedavg_lora"] = "fedavg_lora"
    asks: ClassVar[Offer] = "injection"
    learns: ClassVar[bool] = False

    rank: int = Field(default=8, ge=1)
    """r."""
    number_bytes: Literal[2, 4] = 4
    """The size of a number in a message: half or single precision."""
    local_steps: int = Field(default=1, ge=1, le=1_000_000)
    """E, steps of a worker in a round, each of problem.batch texts of problem.tokens."""
    adapted: Projections | None = None
    """Another model than the problem's, by its shapes; none: that one, by the header of its weights."""

    def schedule(self, setting: Setting) -> Schedule:
        problem = problem_of(setting)
        n_bytes = adapter_numbers(self._projections(problem), self.rank) * self.number_bytes
        tokens = self.local_steps * problem.batch * problem.text_tokens
        local = JobCost(0, 0, 0, bytes_up=n_bytes, bytes_down=n_bytes, own_gradient_tokens=tokens)
        return Schedule(Steps(setting.n_workers, 1), {"local": Work(local)}, "local")

    def open(self, bench: Bench) -> Learner:
        raise AssertionError("nothing is learned")

    def reveals(self, setting: Setting) -> str:
        return "weight changes"

    def check_attack(self, attack: Attack) -> None:
        if isinstance(attack, MessageAttack | DataAttack):
            raise ValueError(
                f"{attack.kind!r} attacks what is learned, and 'fedavg_lora' is a cost model, which learns "
                "nothing"
            )

    def unread(self, setting: Setting) -> Mapping[str, str]:
        keys = ("extraction", "at", "loss", "noise", "loss_floor", "dirichlet_alpha")
        found = {f"problem.{key}": "'fedavg_lora' is a cost model, which learns nothing" for key in keys}
        return found | {"target": "'fedavg_lora' is a cost model: nothing is measured"}

    def _projections(self, problem: InjectionProblem) -> Projections:
        return self.adapted or Projections(
            n_layers=problem.shape.n_layers,
            width=problem.shape.width,
            value_width=problem.value_width,
        )


def adapter_numbers(layers: Projections, rank: int) -> int:
    """Return how many numbers the adapters of queries and values have in all layers."""
    queries, values = layers.width + layers.width, layers.width + layers.value_width
    return layers.n_layers * rank * (queries + values)
