"""Black boxes, one per file or folder: who answers a prompt."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.icl.models.base import BlackBox
from fedsim.icl.models.endpoint import Endpoint
from fedsim.icl.models.fitted import Fitted
from fedsim.icl.models.local import Local
from fedsim.icl.models.open_weights import OpenWeights
from fedsim.icl.models.replay import Replay
from fedsim.icl.models.surrogate import Surrogate

MODELS = Family("models", BlackBox, Surrogate, Local, OpenWeights, Endpoint, Replay, Fitted)
AnyModel = Annotated[BlackBox, MODELS]

__all__ = ["MODELS", "AnyModel", "BlackBox"]
