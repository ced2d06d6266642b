"""Reporting at once."""

from __future__ import annotations

from typing import Literal

from fedsim.timing.attacks.base import Conduct, TimingAttack


class Rushing(TimingAttack):
    """Reports at once, so as to sit in every active set: only its transfers take time.

    By default it does no work. With ``skip_calls = false`` it does: its arithmetic then takes no time, but it
    has to wait for the answers to its LLM calls.

    Source: workers that are fast because they do not work, and so send more gradients than others, are what
    the frequency filter of Kardam is for: Damaskinos et al., "Asynchronous Byzantine machine learning (the
    case of SGD)", ICML 2018, section 3. The rushing adversary of cryptography is another: it speaks last,
    knowing what the others said; here that is an attack on messages with ``knowledge = "all"``.
    """

    kind: Literal["rushing"] = "rushing"
    skip_calls: bool = True

    def conduct(self, start_s: float) -> Conduct:
        return Conduct(computes=False, calls=not self.skip_calls)
