"""One call to a server, in either layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from openai import AsyncOpenAI

from fedsim.icl.answers.answer import Spent
from fedsim.icl.models.endpoint.budget import Use, most
from fedsim.icl.models.endpoint.errors import failure
from fedsim.icl.models.endpoint.replies import Reply, Usage, check, read
from fedsim.secrets import without_known

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.part import Endpoint


class Call(NamedTuple):
    """A call that succeeded."""

    reply: Reply
    seconds: float
    """From the last try's request to the end of its answer."""
    most: Use

    @property
    def tokens(self) -> Usage:
        """Tokens as the server reports them; none where it reports nothing."""
        return self.reply.usage or Usage()

    @property
    def use(self) -> Use:
        """What the budget counts: the most that is possible where the server reports nothing."""
        usage = self.reply.usage
        return Use(1, usage.prompt_tokens, usage.completion_tokens) if usage else self.most


class Caller:
    """Calls a server with the fields of the settings, and without those that are unset."""

    def __init__(self, settings: Endpoint, client: AsyncOpenAI) -> None:
        self.settings = settings
        self.spent = Spent()
        self.first: Reply | None = None
        """What came first, be it possible or not; may be forgotten from outside."""
        self._client = client

    async def __call__(self, prompt: str, max_tokens: int, **fields: Any) -> Call:
        """Ask for at most `max_tokens` after a prompt; the client tries again where that may help.

        Raises:
            CallError: the call failed, or what came is no answer.
        """
        settings = self.settings
        fields["model"] = settings.model
        fields |= {"extra_body": settings.extra_body} if settings.extra_body else {}
        if settings.length_field is not None:
            fields[settings.length_field] = max_tokens
        if settings.temperature is not None:
            fields["temperature"] = settings.temperature
        if settings.seed is not None:
            fields["seed"] = settings.seed
        try:
            if settings.layout == "chat":
                raw = await self._client.chat.completions.with_raw_response.create(
                    messages=[{"role": "user", "content": prompt}], **fields
                )
            else:
                raw = await self._client.completions.with_raw_response.create(prompt=prompt, **fields)
        except Exception as error:  # not only the client's own: a header may hold what cannot be sent
            raise failure(error, settings) from None
        # Counted before it is read: an answer of no use was paid for all the same.
        self.spent = self.spent._replace(
            calls=self.spent.calls + 1, calls_without_usage=self.spent.calls_without_usage + 1
        )
        call = Call(read(without_known(raw.text)), raw.elapsed.total_seconds(), most(prompt, 1, max_tokens))
        if call.reply.usage is not None:
            used = Spent(0, *call.use[1:], calls_without_usage=-1)
            self.spent = self.spent.plus(used)
        self.first = self.first or call.reply
        check(call.reply)
        return call
