"""Loggers beside a run: told of each server step in the process that takes it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fedsim.errors import STRAY, InputError
from fedsim.importing import unpickled

if TYPE_CHECKING:
    from fedsim.loggers.base import Logger
    from fedsim.scenario import Scenario

Packed = dict[str, bytes]
"""Loggers that can travel, by the words of --log."""


def packed(loggers: Mapping[str, Logger]) -> Packed:
    """Return loggers as they are sent to the process of a run."""
    return {words: pickle.dumps(logger) for words, logger in loggers.items()}


class Live:
    """Tells loggers of the steps of one run. One that fails is left aside: the run goes on without it.

    Args:
        scenario: of the run.
        run_id: its address.
        loggers: as they came.
    """

    def __init__(self, scenario: Scenario, run_id: str, loggers: Packed) -> None:
        self.complaints: dict[str, str] = {}
        """A sentence for each that has failed, by the words of --log."""
        self._scenario = scenario
        self._run_id = run_id
        self._loggers: dict[str, Logger] = {}
        for words, pickled in loggers.items():
            try:
                self._loggers[words] = unpickled(pickled)
            except STRAY as error:  # a stranger's part may fail in any way
                self.complaints[words] = complaint(words, error)

    def step(self, row: Mapping[str, Any]) -> None:
        """Pass the row of a step on."""
        for words, logger in list(self._loggers.items()):
            try:
                logger.step(self._scenario, MappingProxyType({"run_id": self._run_id, **row}))
            except STRAY as error:  # a stranger's part may fail in any way
                del self._loggers[words]
                self.complaints[words] = complaint(words, error)


def complaint(words: str, error: BaseException) -> str:
    """Return what is said of a logger that has failed."""
    if isinstance(error, InputError):
        return f"{error}; nothing more was logged there"
    last = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return f"--log {words}: {last}; nothing more was logged there"
