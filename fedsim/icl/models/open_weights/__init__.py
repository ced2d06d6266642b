"""A language model that is computed here, whose inside can be read and changed."""

from fedsim.icl.models.open_weights.part import OpenWeights
from fedsim.icl.models.open_weights.sizes import ModelSizes, Shape

__all__ = ["ModelSizes", "OpenWeights", "Shape"]
