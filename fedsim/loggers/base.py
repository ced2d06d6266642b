"""The interface of a logger: where measurements go besides the run folders."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from fedsim.catalog import Part
from fedsim.errors import InputError, nearest
from fedsim.whole_files import check_folder

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.scenario import Scenario

ADDRESS = re.compile(r"(?P<scheme>[^/\\:]{2,}):(?P<rest>.*)", re.DOTALL)
"""What is no folder: it begins like an address. Two letters at least, for `C:` is a drive."""


def check_place(kind: str, place: str, schemes: Collection[str] = ()) -> None:
    """Refuse a place that is neither an address nor a folder that can be written to.

    Args:
        kind: of the logger.
        place: what was given.
        schemes: how an address may begin; none: a folder alone will do.

    Raises:
        InputError: with the nearest that is right.
    """
    found = ADDRESS.match(place)
    if found is None:
        try:
            check_folder(Path(place))
        except OSError as error:
            raise InputError(f"--log {f'{kind}:{place}'!r}: cannot write there: {error.strerror}") from error
        return
    scheme, rest = found["scheme"], found["rest"]
    if re.match(r"\d+(/|$)", rest) and "http" in schemes:
        wrong = f"found a host and port alone; did you mean 'http://{place}'?"
    elif scheme.partition("+")[0] not in schemes:
        wrong = f"unknown {scheme + ':'!r}{nearest(scheme, schemes)}"
    elif not rest.startswith("//"):
        wrong = f"expected {scheme}://"
    elif scheme in ("http", "https") and not _has_host(place):
        wrong = "no host that can be reached"
    else:
        return
    known = f"a folder or one of {', '.join(f'{name}://' for name in schemes)}" if schemes else "a folder"
    raise InputError(
        f"--log {f'{kind}:{place}'!r}: {wrong} (expected {known}; a folder with a colon is ./NAME)"
    )


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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
    """One row per server step, with `step`, `time_s` and the measurements."""

    def measured(self) -> dict[str, pd.DataFrame]:
        """Return each measurement with its `step`, `time_s` and `value`, in the order of the steps.

        What was not measured in a step has no row.
        """
        names = [name for name in self.steps.columns if name not in ("step", "time_s")]
        numeric = self.steps[["step", "time_s", *names]].astype(float)
        whole = {name: numeric[["step", "time_s", name]].dropna() for name in names}
        return {name: rows.set_axis(["step", "time_s", "value"], axis=1) for name, rows in whole.items()}


class Logger(Part):
    """A home for measurements, in which others' tools look at them.

    `check`, `has` and `log` are called in the process of the command, `step` in the process of the run, on a
    copy that was pickled and sent there for this run. The copy ends with the run and nothing of it comes
    back, so that what `step` opens it also closes. Other runs may be under way at the same time. A logger
    that raises an error is left aside, and runs go on without it.
    """

    place: str
    """Where: a folder, or whatever else the kind says."""

    @abstractmethod
    def check(self) -> None:
        """Find out before anything runs whether what the logger needs is there.

        Raises:
            InputError: it is not installed, or `place` is none.
        """

    @abstractmethod
    def has(self, run: Logged) -> bool:
        """Whether this run is there already.

        Raises:
            InputError: the place cannot be read.
        """

    def step(self, scenario: Scenario, row: Mapping[str, Any]) -> None:
        """Note a server step that has just been taken; does nothing in a home for finished runs.

        It is called for all steps of a run in their order, beginning with step 0, before the first one. A run
        that was found finished takes no steps, and one whose process was killed is begun again.

        Args:
            scenario: of the run.
            row: `run_id`, the address of the run; all else as in the table `steps`: counters, and
                measurements if this step was measured. What is measured when a run has ended is added to its
                last row later, for `log` alone.

        Raises:
            InputError: the place cannot be written to.
        """

    @abstractmethod
    def log(self, run: Logged) -> None:
        """Add a finished run.

        Raises:
            InputError: the place cannot be written to.
        """
