"""Centralised bilevel tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from fedsim.algorithms.base import Algorithm, Bench, Setting
from fedsim.algorithms.dbt.distributed import schedule, without_words
from fedsim.algorithms.dbt.settings import CommonRules, Rules
from fedsim.attack import Attack
from fedsim.errors import nearest
from fedsim.icl.attacks.base import DataAttack
from fedsim.learning.aggregation import COUNTERS
from fedsim.schedule import Schedule, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.dbt.tuner import Tuner

ACCESS = ("upload", "download", "upload_mbps", "download_mbps", "devices", "availability", "on_return")
"""What a group says of its workers' access lines, and of their coming and going."""


class Cendbt(CommonRules, Algorithm):
    """cenDBT: one machine pools the workers' data and makes all calls itself; no z, no rho, no network.

    The machine is one like those of the group `machine`, always on and beside its server.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), in words; the steps follow from (2)
    and the distributed form with one worker.
    """

    kind: Literal["cendbt"] = "cendbt"
    counters = COUNTERS
    machine: str | None = None
    """The name of the group of workers whose machine it is: its arithmetic, its lanes, its slowness. Of the
    groups nothing else then counts but how many workers hold data. None: of the only group, which then may
    not state an access line."""

    def schedule(self, setting: Setting) -> Schedule:
        cost = setting.problem.cost(setting.n_workers)._replace(bytes_up=0, bytes_down=0)
        return schedule(Steps(1, 1), self, setting, Work(cost), Work(cost, "cutting"), self._group(setting))

    def open(self, bench: Bench) -> Tuner:
        from fedsim.algorithms.dbt.tuner import Tuner

        inner = self.inner.trusted_copy({"mu": 0.0})  # nothing ties p to a z
        shared = {name: getattr(self, name) for name in CommonRules.model_fields} | {"inner": inner}
        return Tuner(bench, Rules(**shared), consensus=False)

    def check(self, setting: Setting) -> None:
        if self.inner.start == "consensus":
            raise ValueError(
                'algorithm.inner.start: found "consensus", expected "current" or "uniform": cendbt has no z'
            )
        names = [group.name for group in setting.workers]
        if self.machine is None and len(names) > 1:
            raise ValueError(
                "algorithm.machine: missing; cendbt runs on one machine: expected the name of the group that "
                f"it is from ({', '.join(names)}), whose speed alone counts"
            )
        if self.machine is not None and names.count(self.machine) != 1:
            hint = nearest(self.machine, names) if self.machine not in names else ""
            raise ValueError(
                f"algorithm.machine: found {self.machine!r}, expected the name of just one group of "
                f"workers{hint} ({', '.join(names)})"
            )

    def check_attack(self, attack: Attack) -> None:
        if not isinstance(attack, DataAttack):
            raise ValueError(
                f"{attack.kind!r} attacks what workers send, but under 'cendbt' they send nothing"
            )

    def reveals(self, setting: Setting) -> str:
        return "texts"  # one machine holds those of all workers

    def unread(self, setting: Setting) -> Mapping[str, str]:
        found = without_words(setting, ("cuts", "multipliers", "polyhedron", "inner"))
        consensus = ("inner.z_rate", "inner.rho_rate", "inner.mu", "cuts.participation", "cuts.restart")
        found |= {f"algorithm.{key}": "cendbt has no consensus z and one machine" for key in consensus}
        beside = ("network", "problem.bytes_up", "problem.bytes_down")
        found |= dict.fromkeys(beside, "the one machine of cendbt sits beside its server and sends nothing")
        found["evaluation.max_workers"] = "cendbt has one machine"
        found["problem.pool"] = "cendbt merges the pools of all workers"
        if self.machine is None:
            reason = (
                "the one machine of cendbt sits beside its server; with algorithm.machine = "
                f'"{setting.workers[0].name}" a file may say it all the same'
            )
            found |= {f"workers.0.{key}": reason for key in ACCESS}
        return found

    def _group(self, setting: Setting) -> int:
        return next((n for n, group in enumerate(setting.workers) if group.name == self.machine), 0)
