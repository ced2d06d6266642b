"""Asynchronous distributed bilevel tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from fedsim.algorithms.base import Setting, at_most
from fedsim.algorithms.dbt.distributed import Distributed
from fedsim.catalog import Strict
from fedsim.schedule import Adapt, Steps


class AdaptSettings(Strict):
    """The server raises or lowers S as it runs, by the times of jobs that it sees: an extension of ours.

    It takes the S with which a worker update takes the least time, its share of polyhedron updates included,
    as if all workers began each step together.
    """

    least: int = Field(1, ge=1)
    """S is never less."""
    most: int | None = Field(None, ge=1)
    """S is never more; none: the number of workers."""
    every_steps: int = Field(10, ge=1)
    """The server looks for a better S after so many steps."""
    window: int = Field(5, ge=1, le=1000)
    """It goes by the last so many jobs of each worker."""
    gain: float = Field(0.05, ge=0, lt=1)
    """It takes another S only where that saves at least this part of the time per worker update."""

    def check(self, wait_for: int, n_workers: int) -> None:
        """Check the bounds of S.

        Raises:
            ValueError: they leave nothing to choose, or S is outside of them at the start.
        """
        most = n_workers if self.most is None else self.most
        at_most("adapt.most", most, n_workers)
        if self.least >= most:
            name = "the number of workers" if self.most is None else "algorithm.adapt.most"
            raise ValueError(f"algorithm.adapt.least: found {self.least}, expected less than {most}, {name}")
        if not self.least <= wait_for <= most:
            raise ValueError(
                f"algorithm.wait_for: found {wait_for}, expected {self.least} to {most}, the bounds of "
                "algorithm.adapt"
            )


class Asyndbt(Distributed):
    """AsynDBT: the server steps as soon as S workers have reported and nobody is too stale.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Algorithm 1.
    """

    kind: Literal["asyndbt"] = "asyndbt"
    wait_for: int = Field(2, ge=1)
    """S, how many workers must have reported."""
    tau: int = Field(5, ge=1)
    """Staleness bound: a ticket is at most tau - 1 steps old when used; with 1, every step waits for all."""
    adapt: AdaptSettings | None = None
    """How S changes from `wait_for` on (an extension); none: it stays."""

    def steps(self, n_workers: int) -> Steps:
        return Steps(self.wait_for, self.tau, Adapt(**dict(self.adapt)) if self.adapt is not None else None)

    def check(self, setting: Setting) -> None:
        super().check(setting)
        if self.adapt is not None:
            self.adapt.check(self.wait_for, setting.n_workers)

    def idle(self) -> Mapping[str, str]:
        found = dict(super().idle())
        if self.tau == 1:
            found["adapt"] = "with tau = 1 every step waits for all"
        return found
