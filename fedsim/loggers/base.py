"""The interface of a logger: where measurements go besides the run folders."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from fedsim.catalog import Part

if TYPE_CHECKING:
    import pandas as pd


class Logged(NamedTuple):
    """What a logger is told of a finished run."""

    name: str
    """Of the scenario."""
    variant: str
    seed: int
    run_id: str
    settings: dict[str, Any]
    """Every setting under its dotted name."""
    summary: dict[str, Any]
    """The headline numbers."""
    steps: pd.DataFrame
    """A row a server step, with `step`, `time_s` and the measurements."""

    def measured(self) -> dict[str, pd.DataFrame]:
        """Return each measurement with its `step`, `time_s` and `value`, in the order of the steps.

        What was not measured in a step has no row.
        """
        names = [name for name in self.steps.columns if name not in ("step", "time_s")]
        numeric = self.steps[["step", "time_s", *names]].astype(float)
        whole = {name: numeric[["step", "time_s", name]].dropna() for name in names}
        return {name: rows.set_axis(["step", "time_s", "value"], axis=1) for name, rows in whole.items()}


class Logger(Part):
    """A home for measurements, in which others' tools look at them."""

    place: str
    """Where: a folder, or whatever else the kind says."""

    @abstractmethod
    def check(self) -> None:
        """Find out before anything runs whether what the logger needs is there.

        Raises:
            InputError: it is not installed.
        """

    @abstractmethod
    def has(self, run: Logged) -> bool:
        """Whether this run is there already.

        Raises:
            InputError: the place cannot be read.
        """

    @abstractmethod
    def log(self, run: Logged) -> None:
        """Add a run.

        Raises:
            InputError: the place cannot be written to.
        """
