"""Attacks on messages, one per file."""

from __future__ import annotations

from fedsim.catalog import Family
from fedsim.learning.attacks.alie import Alie
from fedsim.learning.attacks.base import MessageAttack
from fedsim.learning.attacks.gaussian import Gaussian
from fedsim.learning.attacks.honest import Honest
from fedsim.learning.attacks.inner_product import InnerProduct
from fedsim.learning.attacks.mimic import Mimic
from fedsim.learning.attacks.min_max import MinMax
from fedsim.learning.attacks.min_sum import MinSum
from fedsim.learning.attacks.random_simplex import RandomSimplex
from fedsim.learning.attacks.same_value import SameValue
from fedsim.learning.attacks.sign_flip import SignFlip
from fedsim.learning.attacks.worst_word import WorstWord
from fedsim.learning.attacks.wrong_answers import WrongAnswers
from fedsim.learning.attacks.zero import Zero

ATTACKS = Family(
    "message_attacks",
    MessageAttack,
    Honest,
    Gaussian,
    SignFlip,
    SameValue,
    Zero,
    RandomSimplex,
    WorstWord,
    WrongAnswers,
    Alie,
    InnerProduct,
    Mimic,
    MinMax,
    MinSum,
)

__all__ = ["ATTACKS", "MessageAttack"]
