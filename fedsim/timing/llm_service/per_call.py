"""A shared LLM service in which every call is an event of its own."""

from __future__ import annotations

from fedsim.timing.llm_service.desk import CallDesk
from fedsim.timing.llm_service.desks import Desks


class PerCall(Desks):
    """`Shared` at work, exactly as its settings say: one service, or one per group.

    A worker sends the calls of a job in order and keeps `lanes` of them open at a time: a call that is
    answered opens the next. A request is at the service at once; the way there and back is part of the time
    to the first token. What becomes of it:

    1. In an outage: answered 503.
    2. Others wait already, or all places are taken, or (where requests are held) a bucket has too little: it
       has to wait. If `queue_limit` requests wait already: answered 429.
    3. With ``over_limit = "reject"``, where a bucket has too little: answered 429, and nothing is taken from
       any bucket. Else its need is taken from all of them.
    4. It waits in one queue, in order of arrival. Its head is let in as soon as there is a place and, with
       ``over_limit = "queue"``, enough in all buckets, from which its need is taken now. Nobody overtakes it.
    5. It takes its place until its last token, or until the first one if it fails.

    Answers 429, 503 and failures take no time of their own. The client then backs off, with its lane, and
    sends the request again, to the end of the queue. An outage that begins answers 503 to all that is being
    answered or waits. A call keeps the time that was drawn for its answer through all its requests.

    The worker's seconds are `CALLING` while at least one of its open calls is being answered, and else
    `QUEUEING`. If it goes down, its calls that are being answered keep their places until their end, for the
    service does not know, and count as abandoned; what waits or backs off is gone.

    Requests of others (`background`) wait in the same queue and take the same places. They take nothing from
    the buckets and are not counted; one that is refused or cut off is not sent again.
    """

    desk = CallDesk
