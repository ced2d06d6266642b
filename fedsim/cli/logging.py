"""The option --log: send measurements to other tools as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.errors import InputError

if TYPE_CHECKING:
    from fedsim.loggers import Logged, Logger
    from fedsim.sweep import Outcome

Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="KIND:PLACE",
        help="Send measurements there as well: tensorboard:FOLDER, mlflow:FOLDER or mlflow:ADDRESS.",
    ),
]


class LogBook:
    """The loggers of a command. One that fails is left aside: results are safe without it.

    Args:
        texts: each ``KIND:PLACE``.

    Raises:
        InputError: there is no such logger, or what it needs is not installed.
    """

    def __init__(self, texts: list[str] | None) -> None:
        from fedsim.loggers import read_logger

        self.complaints: list[str] = []
        self._loggers: list[Logger] = [read_logger(text) for text in texts or []]
        for logger in self._loggers:
            logger.check()

    def add(self, outcome: Outcome) -> None:
        """Log a run that has results, unless it was finished before and is there already."""
        if not self._loggers or not outcome.summary:
            return
        run = _logged(outcome)
        for logger in list(self._loggers):
            try:
                if not (outcome.reused and logger.has(run)):
                    logger.log(run)
            except InputError as error:
                self._loggers.remove(logger)
                self.complaints.append(f"{error}; nothing more was logged there")

    def tell(self) -> bool:
        """Say what went wrong; whether anything did."""
        for complaint in self.complaints:
            typer.echo(f"fedsim: {complaint}", err=True)
        return bool(self.complaints)


def _logged(outcome: Outcome) -> Logged:
    from fedsim.loggers import Logged
    from fedsim.results import read_table, settings_of

    scenario, summary = outcome.scenario, outcome.summary
    settings, steps = settings_of(scenario), read_table(outcome.folder, "steps")
    address = outcome.folder.name
    return Logged(scenario.name, scenario.variant, scenario.seed, address, settings, summary, steps)
