"""A language model in this process."""

from fedsim.icl.models.local.part import SMOLLM2, Local

__all__ = ["SMOLLM2", "Local"]
