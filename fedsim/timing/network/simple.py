"""Messages that do not disturb each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fedsim.streams import Streams
from fedsim.timing.network.base import Network

if TYPE_CHECKING:
    import simpy


class Simple(Network):
    """Messages that do not disturb each other: each takes what its worker's own access takes.

    That is a draw of the group's `upload` or `download`, plus its bytes over `upload_mbps` or
    `download_mbps`.

    Source: the independent delays of Jiao et al., ADBO, ICLR 2023, released code.
    """

    kind: Literal["simple"] = "simple"

    def instant(self, n_workers: int, has_bytes: bool) -> bool:
        return True

    def open(self, env: simpy.Environment, streams: Streams, groups: Sequence[int]) -> None:
        return None
