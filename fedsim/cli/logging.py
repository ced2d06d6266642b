"""The option --log: send measurements to other tools as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.errors import STRAY, InputError
from fedsim.terminal import say

if TYPE_CHECKING:
    from fedsim.loggers import Logged, Logger
    from fedsim.sweep import Outcome

Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="KIND:PLACE",
        help="Send measurements there as well: tensorboard:FOLDER, mlflow:FOLDER, mlflow:ADDRESS, or to your "
        "own MODULE:CLASS:PLACE.",
    ),
]


class LogBook:
    """The loggers of a command. One that fails is left aside: results are safe without it.

    Args:
        texts: each ``KIND:PLACE``.

    Raises:
        InputError: there is no such logger, what it needs is not installed, or it cannot be pickled.
    """

    def __init__(self, texts: list[str] | None) -> None:
        from fedsim.loggers import read_logger
        from fedsim.loggers.live import packed

        self.complaints: list[str] = []
        self.loggers: dict[str, Logger] = {text: read_logger(text) for text in texts or []}
        """Those that have not failed, by what was given."""
        for text, logger in self.loggers.items():
            logger.check()
            try:
                packed({text: logger})
            except STRAY as error:  # a stranger's part may fail in any way
                raise InputError(f"--log {text!r}: it cannot be sent to a run: {error}") from error

    def add(self, outcome: Outcome) -> None:
        """Log a run that has results, unless it was finished before and is there already."""
        from fedsim.loggers.live import complaint

        for text, sentence in outcome.complaints.items():
            self._leave_aside(text, sentence)
        if not self.loggers or not outcome.summary:
            return
        run = _logged(outcome)
        for text, logger in list(self.loggers.items()):
            try:
                if not (outcome.reused and logger.has(run)):
                    logger.log(run)
            except STRAY as error:  # a stranger's part may fail in any way
                self._leave_aside(text, complaint(text, error))

    def _leave_aside(self, text: str, sentence: str) -> None:
        """Several runs may have met the same trouble at the same time: it is said once."""
        if self.loggers.pop(text, None) is not None:
            self.complaints.append(sentence)

    def tell(self) -> bool:
        """Say what went wrong; whether anything did."""
        for complaint in self.complaints:
            say(f"fedsim: {complaint}", err=True)
        return bool(self.complaints)


def _logged(outcome: Outcome) -> Logged:
    from fedsim.loggers import Logged
    from fedsim.results import read_table, settings_of

    scenario, summary = outcome.scenario, outcome.summary
    settings, steps = settings_of(scenario), read_table(outcome.folder, "steps")
    address = outcome.folder.name
    return Logged(scenario.name, scenario.variant, scenario.seed, address, settings, summary, steps)
