"""The LLM service a round at a time: values by hand, slow twins, and books that add up."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from service_cases import Asked, serve

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service import Calls
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.round_background import BackgroundLoad, mean_answer_s
from fedsim.timing.llm_service.round_demand import Demand, demand_of
from fedsim.timing.llm_service.round_limits import FluidBucket, common_wait_s
from fedsim.timing.llm_service.round_outages import refusals_until_open
from fedsim.timing.llm_service.round_retries import Refusals
from fedsim.timing.llm_service.round_waiting import queued_s
from fedsim.timing.llm_service.shared import Background, Backoff, RequestTrace, Shared
from fedsim.timing.outages import Outage

SECOND = Constant(value_s=1.0)
HOSTED = Lognormal(median_s=0.3444, sigma=0.2925)
PLAIN = Backoff(first_s=0.5, factor=2.0, longest_s=8.0, jitter=0.0)


def rounds(**settings: Any) -> Shared:
    """Return a service a round at a time whose calls take a second."""
    return Shared.model_validate({"kind": "shared", "detail": "per_round", "ttft": SECOND} | settings)


# Values by hand.


def test_two_jobs_share_one_place():
    # Alone a call follows every second; two jobs at one place wait 1 s before each, so that one follows every
    # 2 s. From 0 to 2 s the first job makes 2 of its 4 calls; the other 2 take 4 s. By then the second one
    # has made 2 of its 4, and makes the rest alone in 2 s.
    found = serve(rounds(concurrency=1), [Asked(0.0, 4), Asked(2.0, 4)])
    assert found.ends_s == pytest.approx([6.0, 8.0])
    # with one lane, what is not calling is queueing
    assert found.seconds(0) == pytest.approx((2.0, 4.0))
    assert found.seconds(1) == pytest.approx((2.0, 4.0))
    assert found.served[:4] == (8, 0, 0, 0)


def test_all_wait_equally_long_whoever_is_slow():
    # 1/(1 + w) + 3/(3 + w) = 1 has the solution w = sqrt(3).
    wait_s = math.sqrt(3)
    found = serve(rounds(concurrency=1), [Asked(0.0, 10), Asked(0.0, 1000, scale=3.0)])
    assert found.ends_s[0] == pytest.approx(10 * (1 + wait_s))
    # the slow one has made 10 (1 + w) / (3 + w) calls by then, and makes the others in 3 s each
    assert found.ends_s[1] == pytest.approx(found.ends_s[0] + 3 * (1000 - 10 * (1 + wait_s) / (3 + wait_s)))


def test_lanes_take_places_until_they_end():
    # 6 calls on 4 lanes take 2 s alone, on average on 3 places; two jobs on 4 places: 2 * 3 / (1 + w) = 4
    # gives w = 0.5 s, twice.
    assert serve(rounds(concurrency=4), [Asked(0.0, 6, 4)] * 2).ends_s == pytest.approx([3.0, 3.0])
    assert serve(rounds(concurrency=6), [Asked(0.0, 6, 4)] * 2).ends_s == [2.0, 2.0]


@pytest.mark.parametrize("over_limit", ["queue", "reject"])
def test_a_bucket_of_requests(over_limit):
    # 4 calls per second against 1: 10 tokens last 10/3 s and 40/3 calls; 80/3 calls more take as many
    # seconds.
    service = rounds(
        requests_per_minute=60, burst_s=10, ttft=Constant(value_s=0.25), over_limit=over_limit, backoff=PLAIN
    )
    found = serve(service, [Asked(0.0, 40)])
    assert found.ends_s == pytest.approx([30.0], abs=1e-3)
    # on average a call waited 20 s / 40
    assert found.seconds(0)[0] == pytest.approx(20.0, abs=1e-3)


def test_a_bucket_of_tokens_binds_where_it_is_the_tighter_one():
    # 100 tokens per call, 50 per second: a call every 2 s after the 300 of the burst, gone after 6 s and 6
    # calls
    service = rounds(requests_per_minute=60, tokens_per_minute=3000, burst_s=6, over_limit="queue")
    found = serve(service, [Asked(0.0, 10, tokens=100)])
    assert found.ends_s == pytest.approx([6.0 + 2 * 4], abs=1e-3)


def test_a_bucket_holds_at_least_one_request():
    service = rounds(tokens_per_minute=60, burst_s=1, over_limit="queue")
    # room for 100 tokens, 1 per second: 10 requests of 100 tokens need 1000, the first 100 of them are there
    found = serve(service, [Asked(0.0, 10, tokens=100)])
    assert found.ends_s == pytest.approx([900.0], abs=1e-3)


def test_a_bucket_fills_again_while_nobody_asks():
    service = rounds(requests_per_minute=60, burst_s=10, ttft=Constant(value_s=0.25), over_limit="queue")
    # the second job finds 0 + 5 tokens: they last 5/3 s and 20/3 calls, the other 100/3 come one per second
    found = serve(service, [Asked(0.0, 40), Asked(35.0, 40)])
    assert found.ends_s[1] == pytest.approx(35 + 5 / 3 + 100 / 3, abs=1e-3)


def test_an_outage_in_the_middle():
    # Cut off at 1.5 s, refused at 1.5, 2 and 3 s, back at 5 s; the call that was half answered begins again,
    # so that 3 of 4 are still to come.
    service = rounds(outages=(Outage(start_s=1.5, stop_s=4.0),), backoff=PLAIN)
    found = serve(service, [Asked(0.0, 4)])
    assert found.ends_s == pytest.approx([8.0])
    assert found.seconds(0) == pytest.approx((3.5, 4.5))
    assert found.served[:4] == (4 + 3, 0, 3, 0)
    exact = serve(service.model_copy(update={"detail": "per_call"}), [Asked(0.0, 4)])
    assert exact.ends_s == pytest.approx([8.0])
    assert exact.served == found.served


def test_a_job_that_comes_in_an_outage():
    # refused at 2, 2.5 and 3.5 s, and back at 5.5 s
    service = rounds(outages=(Outage(start_s=1.5, stop_s=4.0),), backoff=PLAIN)
    found = serve(service, [Asked(2.0, 4)])
    assert found.ends_s == pytest.approx([9.5])
    assert found.seconds(0) == pytest.approx((3.5, 4.0))
    assert found.served[:4] == (7, 0, 3, 0)


@pytest.mark.parametrize(
    ("second", "end_s", "refused"),
    [
        # cut off at 1.5 s; refused at 1.5, 2, 3 and, in the second outage, at 5 s; back after a pause of 4 s
        (Outage(start_s=4.2, stop_s=6.0), 12.0, 4),
        (Outage(start_s=4.0, stop_s=6.0), 12.0, 4),
        # over before the client comes back: it hears nothing of it
        (Outage(start_s=4.2, stop_s=4.5), 8.0, 3),
        # begins as the client comes back: nothing has been answered since
        (Outage(start_s=5.0, stop_s=5.5), 12.0, 4),
    ],
    ids=["soon", "at once", "unseen", "as it comes back"],
)
def test_a_second_outage_before_clients_are_back(second, end_s, refused):
    service = rounds(outages=(Outage(start_s=1.5, stop_s=4.0), second), backoff=PLAIN)
    found = serve(service, [Asked(0.0, 4)])
    assert found.ends_s == pytest.approx([end_s])
    assert found.served[:4] == (4 + refused, 0, refused, 0)
    assert found.seconds(0) == pytest.approx((end_s - 4.5, 4.5))
    exact = serve(service.model_copy(update={"detail": "per_call"}), [Asked(0.0, 4)])
    assert exact.ends_s == pytest.approx([end_s])
    assert exact.served == found.served


def test_pauses_begin_anew_in_an_outage_long_after_the_one_before():
    # Back from the first one at 5 s with 9 calls to go, of which 3.5 are made by 8.5 s. Refused there
    # for 0.5 s; 6 calls to go at 9 s.
    service = rounds(
        outages=(Outage(start_s=1.5, stop_s=4.0), Outage(start_s=8.5, stop_s=9.0)), backoff=PLAIN
    )
    found = serve(service, [Asked(0.0, 10)])
    assert found.ends_s == pytest.approx([15.0])
    assert found.served[:4] == (14, 0, 4, 0)
    exact = serve(service.model_copy(update={"detail": "per_call"}), [Asked(0.0, 10)])
    assert exact.ends_s == pytest.approx([15.0])


def test_a_bucket_that_has_filled_hurries_nobody_who_is_still_away():
    # The bucket of 5 requests lasts 10 s: 1 call per second, 1/2 comes in. Then calls follow every 2 s, and
    # are answered for half of them. The outage at 15 s finds 12.5 calls of 40 done, and of an answer that was
    # under way with a chance of 1/2, 0.5 s old, 0.25 s lost: 27.5 + 0.125 calls are left. They are refused at
    # 15, 15.5, 16.5, 18.5 and 22.5 s, and back at 30.5 s. The bucket is full at 30 s and lasts until 40 s:
    # 9.5 calls. The other 18.125 take 2 s each.
    service = rounds(
        outages=(Outage(start_s=15.0, stop_s=30.0),),
        requests_per_minute=30,
        burst_s=10,
        over_limit="queue",
        backoff=PLAIN,
    )
    found = serve(service, [Asked(0.0, 40)])
    assert found.served[:4] == (45, 0, 5, 0)
    assert found.ends_s == pytest.approx([40 + 2 * 18.125], abs=1e-3)


def test_what_is_due_as_an_outage_begins_is_cut_off():
    # the last call comes again at 4.5 s; on average the call cut off has been answered for half a second
    service = rounds(outages=(Outage(start_s=4.0, stop_s=4.25),), backoff=PLAIN)
    found = serve(service, [Asked(0.0, 4)])
    assert found.ends_s == pytest.approx([5.0])
    assert found.served[:4] == (5, 0, 1, 0)


def test_nobody_waits_in_line_in_an_outage():
    service = rounds(concurrency=1, outages=(Outage(start_s=1.5, stop_s=4.0),), backoff=PLAIN)
    levels = serve(service, [Asked(0.0, 2), Asked(0.0, 2), Asked(0.0, 2)], levels=True).served.levels
    assert [row[1:] for row in levels[:3]] == [(0.0, 2, 1), (1.5, 0, 0), (4.0, 2, 1)]


def test_outages_that_nobody_saw():
    service = rounds(outages=(Outage(start_s=1.0, stop_s=2.0), Outage(start_s=20.0, stop_s=30.0)))
    assert serve(service, [Asked(3.0, 4)]).ends_s == [7.0]


def test_requests_of_others_take_their_places():
    # one request per second of 1 s each: one place of two is left, for two jobs
    service = rounds(concurrency=2, background=Background(requests_per_minute=60, tokens_out=0))
    assert serve(service, [Asked(0.0, 4), Asked(0.0, 4)]).ends_s == pytest.approx([8.0, 8.0])


def test_a_trace_of_others_comes_and_goes():
    # In the first 10 s of 20, ten requests of 1 s: one place of two is taken, and then none. Mean gap: 19/10.
    times = [*range(10), 19]
    csv = "time_s,tokens_in,tokens_out\n" + "".join(f"{time},1,0\n" for time in times)
    others = Background.model_validate({"arrivals": {"csv": csv}})
    load = BackgroundLoad(rounds(concurrency=2, background=others))
    window_s = (19 + 1.9) / 3
    assert [load.places((k + 0.5) * window_s) for k in range(4)] == pytest.approx(
        [count / window_s for count in (7, 3, 1, 7)]
    )
    assert load.changes_s(window_s) == pytest.approx(2 * window_s)
    assert load.changes_s(0.0) == pytest.approx(window_s)
    # 7 places a 6.97 s, then 3: one job of two has 2 - 7/6.97 places, and then 2 - 3/6.97
    found = serve(rounds(concurrency=2, background=others), [Asked(0.0, 8, 2), Asked(0.0, 8, 2)])
    first = window_s * (2 - 7 / window_s)
    assert found.ends_s[0] == pytest.approx(window_s + (16 - first) / (2 - 3 / window_s), abs=1e-3)


def test_the_end_of_a_window_belongs_to_the_next_however_late():
    # were it not so, a service that looks again as the background changes would look for ever
    csv = "time_s,tokens_in,tokens_out\n" + "".join(f"{1.1 * time:.1f},1,0\n" for time in range(20))
    load = BackgroundLoad(rounds(background=Background.model_validate({"arrivals": {"csv": csv}})))
    for power in range(14):
        now_s = 10.0**power
        for _ in range(300):
            assert load.changes_s(now_s) > now_s
            now_s = load.changes_s(now_s)
    # a trace of less than 10 s is one window, and never changes
    short = "time_s,tokens_in,tokens_out\n0,1,0\n1,1,0\n"
    load = BackgroundLoad(rounds(background=Background.model_validate({"arrivals": {"csv": short}})))
    assert load.changes_s(7.0) == math.inf
    assert load.places(7.0) == 1.0  # two requests of a second in 2 s


def test_how_long_others_are_answered_on_average():
    # 0.25 s, 100 prompt tokens at 50 per second, 10 tokens of 0.1 s
    settings = rounds(
        ttft=Constant(value_s=0.25), prefill_tokens_per_s=50, per_output_token=Constant(value_s=0.1)
    )
    assert mean_answer_s(settings, 100.0, 10.0) == pytest.approx(0.25 + 2 + 1)
    # Rows of 1 s and 0.5 s per token, and of 2 s with nothing known of tokens; what failed does not count.
    rows = "ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n1,3,10,4,\n2,3,10,0,\n9,9,,,503\n"
    measured = Shared.model_validate({"requests": {"csv": rows}})
    assert mean_answer_s(measured, 100.0, 10.0) == pytest.approx(1.5 + 10 * 0.5 / 2)


def test_others_that_would_fill_all_places_leave_a_hundredth():
    service = rounds(concurrency=1, background=Background(requests_per_minute=600, tokens_out=0))
    assert serve(service, [Asked(0.0, 2)]).ends_s == pytest.approx([200.0])


def test_groups_with_services_of_their_own():
    asked = [Asked(0.0, 4, group=0), Asked(0.0, 4, group=1), Asked(0.0, 4, group=1)]
    shared = serve(rounds(concurrency=1), asked)
    apart = serve(rounds(concurrency=1, shared_by="group"), asked, levels=True)
    assert shared.ends_s == pytest.approx([12.0] * 3)
    assert apart.ends_s == pytest.approx([4.0, 8.0, 8.0])
    assert [row[0] for row in apart.served.levels if row.serving] == [0, 1]


def test_levels_are_of_the_fluid():
    # three calls are open: one is answered, two wait; then two, then one
    found = serve(rounds(concurrency=1), [Asked(0.0, 2), Asked(0.0, 4), Asked(0.0, 6)], levels=True)
    assert found.ends_s == pytest.approx([6.0, 10.0, 12.0])
    rows = [(row.time_s, row.queued, row.serving) for row in found.served.levels]
    assert [row[1:] for row in rows] == [(2, 1), (1, 1), (0, 1), (0, 0)]
    assert [row[0] for row in rows] == pytest.approx([0.0, 6.0, 10.0, 12.0])
    assert serve(rounds(concurrency=1), [Asked(0.0, 2)]).served.levels in ((), [])


def test_how_often_requests_are_refused():
    # equal pauses of 0.5 s: as often as they fit into the wait
    equal = Refusals(Backoff(first_s=0.5, factor=1.0, jitter=0.0))
    assert equal.within(0.0) == 0
    assert equal.within(3.0) == pytest.approx(6.0, rel=1e-2)
    # with half a chance: 1/2 of 0.5 s, 1/4 of 1 s, 1/8 of 2 s, 1/16 of 4 s, and 8 s in 1/16 of all cases
    growing = Refusals(Backoff(first_s=0.5, factor=2.0, longest_s=8.0, jitter=0.0))
    assert growing.within(4 * 0.25 + 8 / 16) == pytest.approx(1.0, rel=1e-2)
    # jitter halves them
    halved = Refusals(Backoff(first_s=0.5, factor=1.0, jitter=1.0))
    assert halved.within(3.0) == pytest.approx(12.0, rel=1e-2)


def test_refused_requests_are_counted():
    # the same job as above: after the burst 80/3 calls, 3/4 s too late each, at pauses of 0.5 s
    backoff = Backoff(first_s=0.5, factor=1.0, jitter=0.0)
    service = rounds(requests_per_minute=60, burst_s=10, ttft=Constant(value_s=0.25), backoff=backoff)
    served = serve(service, [Asked(0.0, 40)]).served
    assert served.too_many_requests == pytest.approx(80 / 3 * 0.75 / 0.5, abs=1.0)
    assert served.requests == 40 + served.too_many_requests


def test_a_queue_that_is_shorter_than_the_line_refuses_the_rest():
    # four lanes at one place: three wait 3 s each; one of them may, two of three come back every 0.5 s
    backoff = Backoff(first_s=0.5, factor=1.0, jitter=0.0)
    found = serve(rounds(concurrency=1, queue_limit=1, backoff=backoff), [Asked(0.0, 40, 4)], levels=True)
    assert found.ends_s == pytest.approx([40.0])
    assert found.served.too_many_requests == pytest.approx(40 * 2 / 3 * 3 / 0.5, rel=2e-2)
    assert (found.served.levels[0].queued, found.served.levels[0].serving) == (1, 1)


@pytest.mark.parametrize(
    ("backoff", "closed_s", "back_s", "refusals"),
    [
        (PLAIN, 0.1, 0.5, 1),
        (PLAIN, 0.5, 0.5, 1),
        (PLAIN, 2.5, 3.5, 3),  # 0.5, 1.5, 3.5
        (PLAIN, 30.0, 31.5, 7),  # 7.5, 15.5, 23.5, 31.5
        (Backoff(first_s=1.0, factor=1.0, jitter=0.5), 2.0, 2.25, 3),
        (Backoff(first_s=0.001, factor=1.0, jitter=0.0), 3e9, 3e9, 3 * 10**12),  # no pause by pause
    ],
)
def test_when_clients_come_back(backoff, closed_s, back_s, refusals):
    assert refusals_until_open(backoff, closed_s) == (pytest.approx(back_s), refusals)


def test_queueing_of_calls_that_stand_together():
    # Two lanes, calls of 1 s without spread that wait 3 s, 0.5 s apart: 2.5 s together, each of 4 times.
    demand = Demand(4.0, 8.0, 1.0, 0.0, 0.5, 4.0, 2, 8, 8, 0.0)
    assert queued_s(demand, 1.0, 3.0, 0.5) == pytest.approx(10.0)
    assert queued_s(demand, 0.5, 3.0, 0.5) == pytest.approx(5.0)
    # backing off each on its own: 4 times 4 s, in (3/4)^2 of it both
    assert queued_s(demand, 1.0, 3.0, 3.0) == pytest.approx(9.0)
    # two normal numbers are 2 / sqrt(pi) = 1.128 standard deviations apart; Blom's formula says 1.178. Beyond
    # chance there are 0.25 s, gone after wave (0.25 / 0.1178)^2 = 4.5: four waves, 2/3 0.1178 sqrt(4) less
    spread = demand._replace(spread_s=0.1)
    assert queued_s(spread, 1.0, 3.0, 0.5) == pytest.approx(9.0 + 4 * (0.25 - 2 / 3 * 0.1178 * 2), rel=1e-3)
    assert queued_s(demand, 1.0, 0.0, 0.0) == 0


def test_failed_requests_come_in_addition():
    service = rounds(server_error_probability=0.5, backoff=PLAIN)
    found = serve(service, [Asked(0.0, 200)])
    requests, too_many, errors, abandoned = found.served[:4]
    assert (requests - errors, too_many, abandoned) == (200, 0, 0)
    # each request that fails takes a second as well, and the pauses come on top
    queueing_s, calling_s = found.seconds(0)
    assert calling_s == pytest.approx(requests)
    assert found.ends_s[0] == pytest.approx(requests + queueing_s)
    draws = Streams(0).generator(Stream.CALL_FAILURE, 0, 0).geometric(0.5, 200) - 1
    assert errors == draws.sum()
    assert queueing_s == pytest.approx(sum(min(0.5 * 2**k, 8.0) for many in draws for k in range(many)))


def test_what_fails_is_asked_for_again():
    service = rounds(server_error_probability=0.5, backoff=PLAIN)
    calls = Calls(0, 0, JobCost(200, 1200, 200, 0, 0), 5, 1.0, True)
    demand = demand_of(CallDraws(service), PLAIN, Streams(0), calls)
    requests = int(Streams(0).generator(Stream.CALL_FAILURE, 0, 0).geometric(0.5, 200).sum())
    assert (demand.calls, demand.requests, demand.too_many) == (200, requests, 0)
    assert demand.place_s == pytest.approx(requests)  # a second each
    assert demand.tokens == pytest.approx(7 * requests)
    assert demand.waves == pytest.approx(requests / 5)


def test_a_trace_tells_what_fails_and_how():
    csv = "ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n1,1,9,1,\n,,,,429\n"
    service = rounds(ttft=Constant(value_s=0.0), requests=RequestTrace.model_validate({"csv": csv}))
    found = serve(service, [Asked(0.0, 300)])
    requests, too_many, errors, _ = found.served[:4]
    assert (requests, errors) == (300 + too_many, 0)
    assert too_many == pytest.approx(300, abs=4 * math.sqrt(600))
    assert found.seconds(0)[1] == pytest.approx(300)


# Workers that go down.


def test_a_worker_that_goes_down_makes_way():
    # At 4 s both have made 2 of 8 calls; the one that stays makes its other 6 in 6 s.
    found = serve(rounds(concurrency=1), [Asked(0.0, 8, leaves_s=4.0), Asked(0.0, 8)], levels=True)
    assert found.ends_s == pytest.approx([4.0, 10.0])
    assert found.seconds(0) == pytest.approx((2.0, 2.0))
    # 2 calls were answered, and half a place was taken: round(0.5) is 0
    assert found.served[:4] == (10, 0, 0, 0)


def test_halves_of_abandoned_calls_add_up():
    # Each of four has half a place, and after 3.5 s has made 1.75 calls: 2 to rounding.
    found = serve(rounds(concurrency=2), [Asked(0.0, 40, leaves_s=3.5)] * 4)
    assert found.served[:4] == (4 * 2 + 2, 0, 0, 2)


def test_abandoned_calls_are_those_in_service():
    found = serve(rounds(concurrency=8), [Asked(0.0, 40, lanes=4, leaves_s=4.5)])
    assert found.served[:4] == (18 + 4, 0, 0, 4)


def test_a_worker_that_goes_down_in_an_outage():
    service = rounds(outages=(Outage(start_s=1.5, stop_s=4.0),), backoff=PLAIN)
    found = serve(service, [Asked(0.0, 4, leaves_s=2.5)])
    assert found.ends_s == [2.5]
    assert found.seconds(0) == pytest.approx((1.0, 1.5))
    assert found.served.abandoned_calls == 0


@pytest.mark.parametrize("leaves_s", [0.0, 1e-9, 0.7, 2.0, 3.999, 4.0])
@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": 1},
        {"requests_per_minute": 30, "burst_s": 2},
        {"outages": (Outage(start_s=0.5, stop_s=3.0),)},
        {"concurrency": 2, "server_error_probability": 0.3},
        {},
    ],
    ids=["places", "requests", "outage", "errors", "none"],
)
def test_nothing_touches_a_worker_that_went_down(limits, leaves_s):
    found = serve(rounds(**limits), [Asked(0.0, 4, lanes=2, leaves_s=leaves_s), Asked(0.0, 4)])
    assert found.ends_s[0] <= max(leaves_s, 4.0)
    assert all(math.isfinite(end_s) for end_s in found.ends_s)
    for worker, end_s in enumerate(found.ends_s):
        assert sum(found.seconds(worker)) == pytest.approx(end_s)
        spans = [span for span in found.clock.spans if span.entity == worker]
        assert all(span.end_s <= end_s for span in spans)
        assert sorted(spans, key=lambda span: span.start_s) == spans


# Equivalence and twins.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_without_limits_it_is_exact(seed, scale):
    asked = [Asked(0.3 * number, 17 + number, 1 + number % 5, scale) for number in range(8)]
    ours = serve(rounds(ttft=HOSTED), asked, seed)
    for other in (Independent(latency=HOSTED), Shared(ttft=HOSTED)):
        theirs = serve(other, asked, seed)
        assert ours.ends_s == theirs.ends_s
        assert ours.clock.spans == theirs.clock.spans


def test_limits_that_do_not_bind_change_nothing():
    asked = [Asked(0.3 * number, 40, 5) for number in range(8)]
    free = serve(rounds(ttft=HOSTED), asked, levels=True)
    wide = serve(rounds(ttft=HOSTED, concurrency=40, requests_per_minute=1e6), asked, levels=True)
    assert wide.ends_s == pytest.approx(free.ends_s, rel=1e-12)
    assert wide.served[:4] == free.served[:4]
    assert not any(wide.clock.seconds[Activity.QUEUEING])


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=20),
    st.floats(0.01, 0.99),
    st.floats(0, 100),
)
@settings(max_examples=100, deadline=None)
def test_the_common_wait_against_bisection(jobs, part, guess_s):
    asked, bare_s = (np.array(column) for column in zip(*jobs, strict=True))
    limit = part * float((asked / bare_s).sum())
    low, high = 0.0, float(asked.sum()) / limit
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (asked / (bare_s + middle)).sum() > limit else (low, middle)
    assert common_wait_s(asked, bare_s, limit, guess_s) == pytest.approx(high, rel=1e-6, abs=1e-9)


def in_small_steps(service: Shared, asked: Sequence[Asked], step_s: float = 0.005) -> list[float]:
    """Return when each job ends: the fluid in plain Python, step by step, its wait by bisection."""
    left = [float(job.calls) for job in asked]
    ends_s = [math.nan] * len(asked)
    rate = (service.requests_per_minute or math.inf) / 60
    room = level = rate * service.burst_s
    now_s = 0.0
    while any(math.isnan(end_s) for end_s in ends_s):
        open_ = [n for n, job in enumerate(asked) if job.begin_s <= now_s and math.isnan(ends_s[n])]

        def made(wait_s: float, open_: list[int] = open_) -> list[float]:
            return [asked[n].lanes / (asked[n].scale + wait_s) for n in open_]

        def stays(wait_s: float, open_: list[int] = open_, level: float = level) -> bool:
            calls = made(wait_s)
            places = sum(many * asked[n].scale for many, n in zip(calls, open_, strict=True))
            within = service.concurrency is None or places <= service.concurrency
            return within and (level > sum(calls) * step_s or sum(calls) <= rate)

        wait_s = 0.0
        if not stays(0.0):
            low, wait_s = 0.0, 1e3
            for _ in range(40):
                middle = (low + wait_s) / 2
                low, wait_s = (low, middle) if stays(middle) else (middle, wait_s)
        calls = made(wait_s)
        now_s += step_s
        level = min(max(level + (rate - sum(calls)) * step_s, 0.0), room)
        for number, many in zip(open_, calls, strict=True):
            left[number] -= many * step_s
            if left[number] <= 0:
                ends_s[number] = now_s
    return ends_s


@pytest.mark.parametrize("seed", range(4))
def test_the_fluid_against_its_slow_twin(seed):
    generator = np.random.default_rng(seed)
    asked = [
        Asked(float(begin_s), int(lanes * waves), int(lanes), float(scale))
        for begin_s, lanes, waves, scale in zip(
            generator.uniform(0, 5, 5),
            generator.integers(1, 5, 5),
            generator.integers(2, 6, 5),
            generator.choice([0.5, 1.0, 2.0], 5),
            strict=True,
        )
    ]
    limits = [{"concurrency": 3}, {"requests_per_minute": 120, "burst_s": 5, "over_limit": "queue"}]
    for service in (rounds(**limits[0]), rounds(**limits[1]), rounds(**limits[0], **limits[1])):
        assert serve(service, asked).ends_s == pytest.approx(in_small_steps(service, asked), abs=0.05)


def call_by_call(service: Shared, asked: Sequence[Asked], seed: int) -> list[float]:
    """Return when each job ends: a SimPy process per lane, a resource for the places, a bucket that holds."""
    env = simpy.Environment()
    places = simpy.Resource(env, capacity=service.concurrency or 10**9)
    door = simpy.Resource(env, capacity=1)
    ends_s = [math.nan] * len(asked)
    gap_s = 60 / (service.requests_per_minute or math.inf)
    free_s = [-math.inf]  # when the bucket would be empty, had nobody come

    def lane(latencies: list[float]) -> Generator[simpy.Event, object, None]:
        while latencies:
            latency_s = latencies.pop(0)
            with places.request() as place:
                with door.request() as turn:  # nobody overtakes
                    yield turn
                    yield place
                    free_s[0] = max(free_s[0], env.now - service.burst_s) + gap_s
                    if free_s[0] > env.now:
                        yield env.timeout(free_s[0] - env.now)
                yield env.timeout(latency_s)

    def work(worker: int, job: Asked) -> Generator[simpy.Event, object, None]:
        yield env.timeout(job.begin_s)
        drawn = service.ttft.sample(Streams(seed).generator(Stream.LLM, worker, 0), job.calls)
        latencies = (job.scale * drawn).tolist()
        yield env.all_of([env.process(lane(latencies)) for _ in range(job.lanes)])
        ends_s[worker] = env.now

    for worker, job in enumerate(asked):
        env.process(work(worker, job))
    env.run()
    return ends_s


@pytest.mark.parametrize(
    "limits",
    [{"concurrency": 12}, {"requests_per_minute": 1500, "burst_s": 5, "over_limit": "queue"}],
    ids=["places", "requests"],
)
def test_jobs_of_many_calls_end_nearly_as_call_by_call(limits):
    service = rounds(ttft=HOSTED, **limits)
    asked = [Asked(2.0 * number, 300, 5) for number in range(6)]
    exact, ours = call_by_call(service, asked, 1), serve(service, asked, 1).ends_s
    assert ours == pytest.approx(exact, rel=0.02)
    assert min(exact) > 1.5 * max(serve(rounds(ttft=HOSTED), asked[:1], 1).ends_s)


@pytest.mark.parametrize("delay", [SECOND, HOSTED, Constant(value_s=0.0)], ids=["constant", "hosted", "zero"])
@pytest.mark.parametrize("seed", range(3))
def test_seconds_and_requests_add_up(delay: Delay, seed: int):
    generator = np.random.default_rng(seed)
    service = rounds(
        ttft=delay,
        concurrency=4,
        requests_per_minute=240,
        burst_s=3,
        server_error_probability=0.1,
        outages=(Outage(start_s=4.0, stop_s=7.0),),
        over_limit="reject",
    )
    asked = [
        Asked(float(begin_s), 20, int(lanes), 1.0, None if leaves_s > 15 else float(leaves_s))
        for begin_s, lanes, leaves_s in zip(
            generator.uniform(0, 6, 8), generator.integers(1, 6, 8), generator.uniform(7, 30, 8), strict=True
        )
    ]
    found = serve(service, asked, seed, levels=True)
    for worker, job in enumerate(asked):
        assert sum(found.seconds(worker)) == pytest.approx(found.ends_s[worker] - job.begin_s)
    requests, too_many, errors, abandoned, levels = found.served
    stayed = sum(20 for job, end_s in zip(asked, found.ends_s, strict=True) if end_s != job.leaves_s)
    assert stayed <= requests - too_many - errors - abandoned <= 20 * len(asked)
    times_s = [row.time_s for row in levels]
    assert times_s == sorted(set(times_s))
    assert all(row.serving <= 4 for row in levels)
    assert levels[-1][2:] == (0, 0)


def test_a_bucket_is_never_more_than_full():
    bucket = FluidBucket(60, 10)
    bucket.flow(0.0, 100.0)
    assert bucket.lasts_s(2.0) == pytest.approx(10.0)
    bucket.flow(3.0, 4.0)
    assert bucket.lasts_s(2.0) == pytest.approx(2.0)
    assert bucket.lasts_s(1.0) == math.inf
    bucket.make_room(30.0)
    assert bucket.lasts_s(2.0) == pytest.approx(22.0)
    bucket.flow(5.0, 100.0)
    assert bucket.lasts_s(2.0) == 0
