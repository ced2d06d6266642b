"""The methods that the paper compares with, one per file.

BDPL (Diao et al., TMLR 2023) tunes words by policy gradients: it is a scenario of the problem `icl` with
``use_demonstrations = false`` and ``cuts = false``, not a part of this family.
"""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.icl.baselines.adaicl import AdaIcl
from fedsim.icl.baselines.base import Baseline
from fedsim.icl.baselines.encoder_mlp import EncoderMlp
from fedsim.icl.baselines.kate import Kate
from fedsim.icl.baselines.manual import Manual
from fedsim.icl.baselines.random_icl import RandomIcl
from fedsim.icl.baselines.zero_shot_cot import ZeroShotCot

BASELINES = Family("baselines", Baseline, Manual, ZeroShotCot, RandomIcl, Kate, AdaIcl, EncoderMlp)
AnyBaseline = Annotated[Baseline, BASELINES]

__all__ = ["BASELINES", "AnyBaseline", "Baseline"]
