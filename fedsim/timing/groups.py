"""Groups of workers that are alike, as settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from fedsim.catalog import Strict
from fedsim.messages import JobCost
from fedsim.streams import Streams
from fedsim.timing.availability import AnyAvailability, Stretch
from fedsim.timing.delays import AnyDelay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.devices import DeviceTrace
from fedsim.timing.network.links import LEAST_MBPS

NO_TIME = Constant(value_s=0.0)


class Transient(Strict):
    """Transient straggling: with this probability a whole job is `factor` times slower."""

    probability: float = Field(ge=0, le=1)
    factor: float = Field(ge=1)


class OwnModel(Strict):
    """The model that a worker runs itself, beside the LLM service that it calls."""

    token_s: float = Field(gt=0)
    """Time for a token to pass forward through it (s)."""
    gradient_factor: float = Field(3.0, ge=1)
    """A pass forward and backward takes as long as so many passes forward.

    Source: Kaplan et al., "Scaling laws for neural language models", arXiv 2001.08361, 2020, section 2.1: the
    backward pass takes twice the arithmetic of the forward pass.
    """

    def job_s(self, cost: JobCost) -> float:
        """Return how long the tokens of one job take on a worker of normal speed (s)."""
        return self.token_s * (cost.own_tokens + self.gradient_factor * cost.own_gradient_tokens)


class WorkerGroup(Strict):
    """Workers that are alike."""

    name: str = "workers"
    count: int = Field(ge=1)
    lanes: int = Field(5, ge=1)
    """LLM calls that a worker keeps open at a time."""
    compute: AnyDelay = NO_TIME
    """The worker's own arithmetic in one job."""
    compute_speed: float = Field(1.0, gt=0)
    """Divides the compute time, that of the worker's own model included; touches nothing else."""
    own_model: OwnModel | None = None
    """What jobs ask of the worker's own model is computed by this one; none: it has none."""
    upload: AnyDelay = NO_TIME
    download: AnyDelay = NO_TIME
    upload_mbps: float | None = Field(None, ge=LEAST_MBPS)
    """Adds the message's size over this bandwidth (megabits per second); none: not limited."""
    download_mbps: float | None = Field(None, ge=LEAST_MBPS)
    devices: DeviceTrace | None = None
    """Each worker is a device of this trace, which multiplies its compute time and is its access line."""
    slow_down: float = Field(1.0, gt=0)
    """Permanent straggling: multiplies every duration of the worker (arithmetic, calls, transfers)."""
    transient: Transient | None = None
    stops_at_s: float | None = Field(None, ge=0)
    """From this instant the worker never reports again (fail-stop)."""
    availability: AnyAvailability | None = None
    """When the workers are on; none: always."""
    on_return: Literal["restart", "rejoin"] = "restart"
    """A worker that was down has kept its state and begins the job that it was busy with again; or it has
    lost its state, starts anew, and asks the server for other work."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("upload_mbps", "download_mbps") if self.devices is not None else ():
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: found {getattr(self, name):g}, expected none: the devices tell it")
        if self.availability is None and self.on_return == "rejoin":
            raise ValueError("on_return: found 'rejoin', expected an availability: nobody goes down")
        if self.availability is not None and self.stops_at_s is not None:
            raise ValueError(
                f"stops_at_s: found {self.stops_at_s:g} together with an availability, expected one of them: "
                "'lifetime' has an end too"
            )
        for place, part in (("devices", self.devices), ("availability", self.availability)):
            try:
                if part is not None:
                    part.check(self.count)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
        return self

    def idle(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self.availability is None:
            found["on_return"] = "the workers are always on (no availability)"
        elif not self.availability.returns:
            found["on_return"] = f"nobody comes back under availability {self.availability.kind!r}"
        if self.compute == NO_TIME and self.own_model is None and self.devices is None:
            found["compute_speed"] = "the workers' arithmetic takes no time (compute)"
        return found

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch] | None:
        """Return when a worker is on; none: always.

        Args:
            streams: the randomness of the run.
            worker: its number.
            place: its number within the group.
        """
        if self.availability is not None:
            return self.availability.stretches(streams, worker, place)
        return None if self.stops_at_s is None else iter([(0.0, self.stops_at_s)])

    def starting_at(self, time_s: float) -> WorkerGroup:
        """Return the same for a run that begins so many seconds after midnight."""
        if self.availability is None or (moved := self.availability.starting_at(time_s)) is self.availability:
            return self
        return self.model_copy(update={"availability": moved})

    def joins_s(self, streams: Streams, worker: int) -> float:
        """Return when a worker becomes a member (s)."""
        return 0.0 if self.availability is None else self.availability.joins_s(streams, worker)

    def each(self, streams: Streams, first: int) -> list[WorkerGroup]:
        """Return what holds for each worker of the group, as a group of its own; the first's number is given.

        All of them are this very group, unless they are devices.
        """
        if self.devices is None:
            return [self] * self.count
        rows = self.devices.of_workers(streams, first, self.count)
        found = zip(
            *(rows.compute_scale.tolist(), rows.mbps_down.tolist(), rows.mbps_up.tolist()),
            rows.own_token_s.tolist() if rows.own_token_s is not None else [None] * self.count,
            strict=True,
        )
        return [
            self.trusted_copy(
                {
                    "compute_speed": self.compute_speed / scale,
                    "download_mbps": mbps_down,
                    "upload_mbps": mbps_up,
                    "own_model": self._own_model_of(own_token_s, scale),
                }
            )
            for scale, mbps_down, mbps_up, own_token_s in found
        ]

    @property
    def has_own_model(self) -> bool:
        """Whether it is known how fast the workers' own model is."""
        return self.own_model is not None or (
            self.devices is not None and self.devices.rows.own_token_s is not None
        )

    def _own_model_of(self, token_s: float | None, scale: float) -> OwnModel | None:
        """Return the model of a device with this compute scale, whose own seconds a token may be measured."""
        if token_s is None:
            return self.own_model
        # What was measured on the device is not scaled: this takes back what its compute speed will do.
        measured = {"token_s": token_s / scale}
        return self.own_model.trusted_copy(measured) if self.own_model else OwnModel(**measured)

    def without_network(self) -> WorkerGroup:
        """Return one worker like these that sits beside its server, is no device and always on.

        It shares nobody's slowness.
        """
        return self.trusted_copy(
            {
                "count": 1,
                "upload": NO_TIME,
                "download": NO_TIME,
                "upload_mbps": None,
                "download_mbps": None,
                "devices": None,
                "availability": None,
                "on_return": "restart",
            }
        )
