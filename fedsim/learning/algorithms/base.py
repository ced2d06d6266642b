"""The interface of an algorithm: what a scenario says of it."""

from __future__ import annotations

from abc import abstractmethod

from fedsim.catalog import Part


class Algorithm(Part):
    """Which of the DBT forms runs: who holds the data, and whom the server waits for."""

    @property
    @abstractmethod
    def centralised(self) -> bool:
        """Whether one machine holds everybody's data and there is nothing to agree on."""

    @abstractmethod
    def step_rule(self, n_workers: int) -> tuple[int, int]:
        """Return (S, tau) for so many workers."""
