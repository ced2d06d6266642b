"""Studies as one file: results packed with all that made them, and run again elsewhere."""

from __future__ import annotations

from fedsim.sharing.packing import Packed, pack_study
from fedsim.sharing.repeating import Repeat, Repeated, repeat_study

__all__ = ["Packed", "Repeat", "Repeated", "pack_study", "repeat_study"]
