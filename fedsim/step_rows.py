"""The rows of the table of steps, as a run keeps them: few bytes for each of very many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fedsim.schedule import Schedule, Steps
from fedsim.timing.exchange import StepReport

if TYPE_CHECKING:
    import pandas as pd


class StepRows:
    """One row per step and one for the start: all counters, and measurements where a step was measured.

    Counters are kept as plain tuples; which columns there are is worked out once.

    Args:
        schedule: what it does not have has no column.
        counters: those beside the clock's.
    """

    def __init__(self, schedule: Schedule, counters: Sequence[str]) -> None:
        columns = _columns(schedule)
        self._pick = itemgetter(*(place for place, column in enumerate(columns) if column))
        self._columns = (*filter(None, columns), *counters)
        self._counters = counters
        self._rows: list[tuple[Any, ...]] = []
        self._measured: dict[int, Mapping[str, float]] = {}

    def add(self, report: StepReport, counts: Mapping[str, int]) -> None:
        """Keep what the clock says of a step, with the value of each counter: 0 of what nobody counts."""
        self._rows.append((*self._pick(report), *[counts.get(counter, 0) for counter in self._counters]))

    def measure(self, metrics: Mapping[str, float]) -> None:
        """Keep the measurements of the last step."""
        self._measured[len(self._rows) - 1] = metrics

    @property
    def is_measured(self) -> bool:
        """Whether the last step was measured."""
        return len(self._rows) - 1 in self._measured

    def last(self) -> dict[str, Any]:
        """Return the last row, by column."""
        row: dict[str, Any] = dict(zip(self._columns, self._rows[-1], strict=True))
        return row | dict(self._measured.get(len(self._rows) - 1, {}))

    def table(self) -> pd.DataFrame:
        """Return all rows; what was not measured is null."""
        import pandas as pd

        table = pd.DataFrame(self._rows, columns=list(self._columns))
        measured = pd.DataFrame(list(self._measured.values()), index=list(self._measured))
        for column in measured:
            table[column] = measured[column].reindex(table.index)
        return table


def _columns(schedule: Schedule) -> list[str]:
    """Return the column of each field of a step's report; none for what the schedule does not have."""
    named = {
        "interludes": schedule.interlude.counter if schedule.interlude is not None else "",
        "openings": "openings" if schedule.opening is not None else "",
        "wait_for": "wait_for" if isinstance(schedule.rule, Steps) and schedule.rule.adapt else "",
        "skipped_interludes": schedule.skipped_counter,
    }
    for name in ("own_tokens", "own_gradient_tokens"):
        if not any(getattr(work.cost, name) for work in schedule.work.values()):
            named[name] = ""
    return [named.get(field, field) for field in StepReport._fields]
