"""Times of day, as people write them."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

DAY_S = 86_400.0


def seconds_of_day(value: Any) -> Any:
    """Return the seconds since midnight of a time such as ``"22:00"``; what is no such text is left as it is.

    Raises:
        ValueError: the text is no time of day.

    >>> [seconds_of_day(time) for time in ("00:00", "6:30", "22:00:15", "24:00", 90.0)]
    [0.0, 23400.0, 79215.0, 86400.0, 90.0]
    """
    if isinstance(value, datetime.time):  # as TOML writes them, without quotes
        value = value.isoformat()
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?", value.strip())
    if found:
        hours, minutes, seconds = int(found[1]), int(found[2]), float(found[3] or 0)
        since_midnight_s = 3600.0 * hours + 60.0 * minutes + seconds
        if minutes < 60 and seconds < 60 and since_midnight_s <= DAY_S:
            return since_midnight_s
    raise ValueError(f'found {value!r}, expected seconds, or a time of day from "00:00" to "24:00"')


def spoken_time(time_s: float) -> str:
    """Return a time of day as a clock shows it.

    >>> [spoken_time(time_s) for time_s in (0.0, 72000.0, 79215.5)]
    ['00:00', '20:00', '22:00:15']
    """
    minutes, seconds = divmod(int(time_s), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")


TimeOfDay = Annotated[float, BeforeValidator(seconds_of_day, json_schema_input_type=float | str)]
"""Seconds since midnight, which may be written ``"22:00"``."""
