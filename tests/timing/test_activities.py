"""The books of seconds, by hand."""

from __future__ import annotations

from fedsim.timing.activities import Activity, ActivityClock, Span


def test_seconds_and_spans() -> None:
    clock = ActivityClock(2, keep_spans=True)
    clock.switch(0, Activity.COMPUTING, 1.0)
    clock.switch(0, Activity.UPLOADING, 3.5)
    clock.switch(1, Activity.CALLING, 4.0)
    clock.switch(0, Activity.WAITING, 3.5)  # an upload of no length leaves no trace
    clock.close(6.0)
    assert clock.seconds[Activity.WAITING] == [3.5, 4.0]
    assert clock.seconds[Activity.COMPUTING] == [2.5, 0.0]
    assert clock.seconds[Activity.CALLING] == [0.0, 2.0]
    assert clock.seconds[Activity.UPLOADING] == [0.0, 0.0]
    assert clock.spans == [
        Span(0, Activity.WAITING, 0.0, 1.0),
        Span(0, Activity.COMPUTING, 1.0, 3.5),
        Span(1, Activity.WAITING, 0.0, 4.0),
        Span(0, Activity.WAITING, 3.5, 6.0),
        Span(1, Activity.CALLING, 4.0, 6.0),
    ]


def test_spans_are_kept_when_asked_for_only() -> None:
    clock = ActivityClock(1)
    clock.switch(0, Activity.DOWN, 2.0)
    clock.close(3.0)
    assert clock.spans == []
    assert clock.seconds[Activity.DOWN] == [1.0]


def test_when_somebody_last_began_to_do_something_else() -> None:
    clock = ActivityClock(3)
    clock.switch(0, Activity.COMPUTING, 2.0)
    clock.switch(1, Activity.DOWN, 5.0)
    assert clock.last_switch_s == 5.0


def test_activities_of_the_algorithm_come_after_those_of_the_clock() -> None:
    clock = ActivityClock(2, keep_spans=True, named=("cutting", "probing"))
    probing = clock.labels.index("probing")
    clock.switch(1, probing, 1.0)
    clock.switch(1, Activity.UPLOADING, 3.0)
    clock.close(4.0)
    assert clock.seconds[probing] == [0.0, 2.0]
    assert len(clock.seconds) == len(clock.labels) == len(Activity) + 2
    assert Span(1, probing, 1.0, 3.0) in clock.spans


def test_the_names_in_result_tables() -> None:
    assert ActivityClock(1, named=("cutting", "probing")).labels == [
        *("computing", "calling", "uploading", "downloading", "waiting", "stepping", "down"),
        *("holding", "queueing", "cutting", "probing"),
    ]
