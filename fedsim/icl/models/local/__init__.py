"""A language model in this process."""

from fedsim.icl.models.local.part import Local

__all__ = ["Local"]
