"""Attacks on timing, one per file."""

from __future__ import annotations

from fedsim.timing.attacks.base import TIMING_ATTACKS, AnyTimingAttack, TimingAttack
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.attacks.rushing import Rushing
from fedsim.timing.attacks.sleeper import Sleeper
from fedsim.timing.attacks.slow_rolling import SlowRolling

TIMING_ATTACKS.add(Rushing, SlowRolling, Sleeper, Flapping)

__all__ = ["TIMING_ATTACKS", "AnyTimingAttack", "TimingAttack"]
