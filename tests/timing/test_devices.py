"""Workers that are measured devices: their speeds by hand, which device each is, and the centralised form."""

from __future__ import annotations

from timing_cases import chain, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.scenario import load_scenario
from fedsim.simulation import run
from fedsim.streams import Stream, Streams
from fedsim.timing.devices import DeviceTrace
from fedsim.timing.groups import WorkerGroup

CSV = "device_id,compute_scale,mbps_down,mbps_up\nslow,2,4,8\nfast,0.5,8,16\n"
MEGABYTE = JobCost(calls=0, tokens_in=0, tokens_out=0, bytes_up=1_000_000, bytes_down=1_000_000)


# One megabyte is 8 megabits, and computing takes 1 s on a normal device. The slow device: 2 s, 1 s up, 2 s
# down; the fast one: 0.5, 0.5 and 1 s.
def test_devices_by_hand() -> None:
    trace = DeviceTrace(csv=CSV, assignment="in order")
    ending, books = simulate(
        [workers(1.0, count=2, devices=trace)], wait_for=2, cost=MEGABYTE, max_steps=2, keep_spans=True
    )
    assert books.times_s == [3, 8]
    assert stretches(ending, 0) == chain(
        ("computing", 2), ("uploading", 3), ("downloading", 5), ("computing", 7), ("uploading", 8)
    )
    assert stretches(ending, 1) == chain(
        *(("computing", 0.5), ("uploading", 1), ("waiting", 3)),
        *(("downloading", 4), ("computing", 4.5), ("uploading", 5), ("waiting", 8)),
    )


def test_a_device_multiplies_what_the_group_takes() -> None:
    trace = DeviceTrace(csv=CSV, assignment="in order")
    group = workers(1.0, count=2, compute_speed=4.0, slow_down=3.0, devices=trace)
    ending, _ = simulate([group], wait_for=2, cost=MEGABYTE, max_steps=1, keep_spans=True)
    # 3 x 2 / 4 s of computing, 3 x 1 s of upload; 3 x 0.5 / 4 s, 3 x 0.5 s
    assert stretches(ending, 0) == chain(("computing", 1.5), ("uploading", 4.5))
    assert stretches(ending, 1) == chain(("computing", 0.375), ("uploading", 1.875), ("waiting", 4.5))


def test_which_device_a_worker_is() -> None:
    drawn = WorkerGroup(count=20, devices=DeviceTrace(csv=CSV))
    scales = [1 / one.compute_speed for one in drawn.each(Streams(5), first=3)]
    numbers = [Streams(5).generator(Stream.DEVICE, worker).integers(2) for worker in range(3, 23)]
    assert scales == [(2, 0.5)[number] for number in numbers]
    assert set(scales) == {2, 0.5}
    in_order = WorkerGroup(count=2, devices=DeviceTrace(csv=CSV, assignment="in order"))
    assert [(one.download_mbps, one.upload_mbps) for one in in_order.each(Streams(5), first=3)] == [
        (4, 8),
        (8, 16),
    ]
    plain = WorkerGroup(count=3)
    assert all(one is plain for one in plain.each(Streams(5), first=3))


def test_a_trace_is_read_from_its_file_with_what_is_said_beside(tmp_path) -> None:
    (tmp_path / "phones.csv").write_text(CSV)
    file = tmp_path / "phones.toml"
    file.write_text(
        """
        algorithm = { kind = "cendbt", machine = "workers", cuts = false }
        problem = { kind = "quadratic", calls = 0 }
        budget = { server_steps = 2 }
        [[workers]]
        count = 2
        compute = { kind = "constant", value_s = 1.0 }
        devices = { file = "phones.csv", assignment = "in order" }
        availability = { kind = "lifetime", joins = { kind = "constant", value_s = 5.0 } }
        """
    )
    scenario = load_scenario(file)
    devices = scenario.workers[0].devices
    assert devices is not None
    assert (devices.assignment, len(devices.rows)) == ("in order", 2)
    # the centralised worker has no device, is always on: 1 s of computing and 1 ms of the server's arithmetic
    finished = run(scenario, timing_only=True)
    assert finished.steps.time_s.tolist() == [0, 1.001, 2.002]
    assert finished.workers.columns[5:8].tolist() == ["times_down", "jobs_lost", "readmitted"]
