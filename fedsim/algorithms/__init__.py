"""The federated methods, one folder per family of methods: everything of a paper stands in its folder.

An `Algorithm` (`base`) is a part of a scenario. Its fields are the settings that only this method reads.
`schedule` tells the clock all that it must know: the step rule, the kinds of jobs and what each costs, jobs
with which workers open, and rounds behind a barrier. `open` returns the `Learner` that computes what the
clock asks for, on a `Bench` that has the problem and who attacks. Nothing outside this folder knows a method
by name.
"""

from __future__ import annotations

from typing import Annotated

from fedsim.algorithms.averaging.fedasync import Fedasync
from fedsim.algorithms.averaging.fedavg import Fedavg
from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.algorithms.averaging.fedbuff import Fedbuff
from fedsim.algorithms.base import Algorithm
from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.cendbt import Cendbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.fedicl.fedicl import Fedicl
from fedsim.algorithms.ifedicl.i2cl import I2cl
from fedsim.algorithms.ifedicl.ifedicl import Ifedicl
from fedsim.algorithms.local.bdpl import Bdpl
from fedsim.algorithms.lora.fedavg_lora import FedavgLora
from fedsim.catalog import Family

ALGORITHMS = Family(
    "algorithms",
    Algorithm,
    Asyndbt,
    Sdbt,
    Cendbt,
    Fedbdpl,
    Bdpl,
    Fedicl,
    Ifedicl,
    I2cl,
    FedavgLora,
    Fedavg,
    Fedasync,
    Fedbuff,
)
AnyAlgorithm = Annotated[Algorithm, ALGORITHMS]

__all__ = ["ALGORITHMS", "Algorithm", "AnyAlgorithm"]
