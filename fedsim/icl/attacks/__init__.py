"""Attacks on data, one per file: what malicious workers do to their demonstrations and queries."""

from __future__ import annotations

from fedsim.catalog import Family
from fedsim.icl.attacks.adversarial import Adversarial
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.attacks.base import Access, DataAttack, DemonstrationAttack
from fedsim.icl.attacks.duplicates import Duplicates
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.attacks.flipped_queries import FlippedQueries
from fedsim.icl.attacks.injected_instruction import InjectedInstruction
from fedsim.icl.attacks.off_topic import OffTopic
from fedsim.icl.attacks.out_of_class import OutOfClass
from fedsim.icl.attacks.random_labels import RandomLabels

DATA_ATTACKS = Family(
    "data_attacks",
    DataAttack,
    FlippedLabels,
    RandomLabels,
    OutOfClass,
    OffTopic,
    InjectedInstruction,
    Adversarial,
    Duplicates,
    Backdoor,
    FlippedQueries,
)

__all__ = ["DATA_ATTACKS", "Access", "DataAttack", "DemonstrationAttack"]
