"""Scenarios: what they are made of, and their files."""

from __future__ import annotations

from fedsim.scenario.files import dump, load_scenario, load_variants, parse, resolved
from fedsim.scenario.model import Scenario

__all__ = ["Scenario", "dump", "load_scenario", "load_variants", "parse", "resolved"]
