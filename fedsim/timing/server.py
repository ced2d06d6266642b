"""The parameter server: one inbox, one step rule, one barrier."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from typing import TYPE_CHECKING, cast

from fedsim.messages import Snapshot, Ticket
from fedsim.schedule import Schedule
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.attacks.base import Misconduct
from fedsim.timing.books import Books, KindCount
from fedsim.timing.exchange import NO_STEP, Exchange
from fedsim.timing.inbox import Inbox
from fedsim.timing.interludes import Interludes
from fedsim.timing.life import Life
from fedsim.timing.members import Members
from fedsim.timing.orders import JobBringer, Order, Orders
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.settings import ServerSettings
from fedsim.timing.withheld import Withheld

if TYPE_CHECKING:
    import simpy


class Server:
    """The server process and what workers ask of it.

    Messages are taken in arrival order and the step rule is tested after each one. So an active set exceeds S
    only where the staleness bound forced the server to wait, or where tickets came in during an interlude of
    the active workers alone.

    A worker that is taken in (it joins late, or comes back after its eviction) gets a job as soon as the
    server reads its message. That job reads the newest snapshot, and brings what interludes have left behind.
    An interlude that is under way goes on without this worker, unless it waits for a job when the rounds
    begin.

    Where interludes go on in the background (ours), a round with all its reports comes before a step.

    Source: Ma et al., AsynDBT, Algorithm 1; Jiao et al., ADBO, ICLR 2023 and its released code.

    Args:
        env: the simulation.
        exchange: the learning half.
        rule: the step rule, or that of sampled rounds.
        settings: the machine.
        schedule: the kinds of jobs, and when interludes are due.
        clock: the books of seconds; the server is entity number R.
        max_steps: stop after so many steps.
        max_updates: stop at the first step with so many worker updates.
        misconduct: the attacks on timing of each malicious worker.
        absent: the workers that join later.
    """

    def __init__(
        self,
        env: simpy.Environment,
        exchange: Exchange,
        rule: StepRule | RoundRule,
        settings: ServerSettings,
        schedule: Schedule,
        clock: ActivityClock,
        max_steps: int | None = None,
        max_updates: int | None = None,
        misconduct: Misconduct | None = None,
        absent: Collection[int] = (),
    ) -> None:
        self.env = env
        self.rule = rule
        self.finished = False
        self.finished_s = 0.0
        self.report_now = NO_STEP
        self.stalled = env.event()
        """Fires when the server begins to wait for ever."""
        self.life = Life(env, self._run())
        self._exchange = exchange
        self._settings = settings
        self._clock = clock
        self._entity = len(rule)
        self._max_steps = max_steps
        self._max_updates = max_updates
        self._misconduct = misconduct or {}
        self._active: list[Ticket] = []
        self._books = Books(schedule, len(rule))
        self.members = Members(rule, exchange, absent, settings.readmit)
        self._out = self.members.out  # looked up for every message
        self._orders = Orders(env, exchange, self._books, schedule, self._misconduct)
        self._withheld = Withheld(self._orders.outstanding, self.members.lost)
        plan = schedule.interlude
        self._of_interlude = plan.work if plan is not None else None  # looked up for every message
        self._holding = clock.labels.index(schedule.interlude_activity) if plan is not None else -1
        self._interludes = Interludes(
            *(env, plan, settings.step_s, exchange, rule, self._orders, self._books, self._withheld)
        )
        self._awaited = self._interludes.awaited  # looked up for every message
        in_background = self._interludes.in_background
        self._has_enough = self._may_go_on if in_background else rule.may_step
        self._inbox = Inbox(
            *(env, self._orders, self._receive, self.life.go_on),
            *(settings.evict_after_s, self._evict, self._anybody, self._look_around),
        )
        self._inbox.looks_around = bool(self._misconduct)
        self.report = self._inbox.report
        self._orders.begin(rule.ask(rule.members), rule.members)

    @property
    def by_kind(self) -> Mapping[str, KindCount]:
        """What the jobs of each kind have cost."""
        return self._books.by_kind()

    @property
    def jobs(self) -> list[int]:
        """How many jobs of each worker it has taken the report of."""
        return self._books.jobs

    @property
    def waiting_for(self) -> list[int]:
        """The workers whose report is outstanding."""
        return sorted(self._orders.outstanding)

    @property
    def deserted(self) -> bool:
        """Whether the server has ended because nobody was left."""
        return self.finished and not self.rule.alive

    @property
    def waits_for_ever(self) -> bool:
        """Whether only a message can wake the server up, and none will ever come."""
        if not self._inbox.asleep or self._settings.evict_after_s is not None or self.members.absent:
            return False
        return self._orders.outstanding.keys() <= self.members.lost

    def first(self, worker: int) -> Order | simpy.Event | None:
        """Return what a worker begins with: an order, an event that brings one, or none: it has to join."""
        if worker in self._orders.outstanding:
            return self._orders.outstanding[worker]
        _, reply = self._orders.waiting.get(worker, (0, None))
        return cast("simpy.Event | None", reply)  # nobody else has put a reply there yet

    def begin(self, worker: int, reply: JobBringer) -> None:
        """Bring a worker that is a member from the start its first job, now or when it is asked."""
        orders = self._orders
        if worker in orders.outstanding:
            reply.succeed(orders.outstanding[worker])
        else:
            orders.bring_by(worker, reply)

    def withhold(self, worker: int, version: int, margin_steps: int) -> simpy.Event | None:
        """Let a malicious worker withhold a finished report until the server is about to wait for it.

        Args:
            worker: who withholds it.
            version: what the job has read.
            margin_steps: how many steps before the staleness bound it lets go.

        Returns:
            An event that fires when it lets go; none: it should report at once.
        """
        until_step = version + self.rule.tau - 1 - margin_steps
        if until_step <= self.rule.step or self._interludes.draining or worker in self._out:
            return None
        event = self.env.event()
        self._withheld.hold(worker, until_step, event)
        if self._inbox.asleep:
            self._look_around()
        return event

    def join(self, worker: int) -> simpy.Event:
        """Ask for work for a worker that was absent; the event returned fires with its first order."""
        return self._inbox.request(self._receive_newcomer, worker)

    def rejoin(self, worker: int, job: int) -> simpy.Event:
        """Ask for other work for a worker that has lost its state, and with it the job that it had.

        The job is withdrawn and its number not used again. In a round of an interlude the worker gets the
        round's order once more.

        Args:
            worker: who asks; not one that the server refuses.
            job: the number of the job that it had.

        Returns:
            An event that fires with the order.
        """
        return self._inbox.request(self._receive_rejoining, (worker, job))

    def forget(self, worker: int) -> None:
        """A worker has lost its state while it waits for its next job: its last ticket counts as usual."""
        self._orders.forget_later(worker)

    def lose(self, worker: int) -> None:
        """Note what the server itself does not see: this worker will never report again."""
        self.members.lose(worker)
        self._withheld.forget(worker)
        self._inbox.looks_around = True
        if not self._inbox.asleep:
            return
        if self._anybody():
            self._look_around()
        else:
            self._inbox.stir()

    def _run(self) -> Generator[simpy.Event | None, object, None]:
        """The server's life: collect reports, step, dispatch jobs, and now and then hold an interlude."""
        orders, rule, interludes = self._orders, self.rule, self._interludes
        collect, enough = self._inbox.collect, self._has_enough
        while not self.finished:
            yield from collect(enough)
            if not rule.alive:
                break
            if interludes.in_background and interludes.round_is_in:
                yield from self._end_round()
                continue
            active, self._active = self._active, []
            waiting = [ticket.worker for ticket in active]
            if active:  # in a sampled round, all who were asked may have been given up
                if self._settings.step_s > 0:
                    yield from self._think()
                snapshot = self._take_step(active)
                if self._exchange.expelled:
                    waiting = self._without_expelled(waiting)
                if self.finished:
                    break
                order = orders.go_on_with(snapshot, self.report_now.time_s)
                if interludes.planned and interludes.due(
                    snapshot.version - 1, self.report_now.worker_updates
                ):
                    if interludes.in_background:
                        interludes.begin()
                    else:
                        waiting = yield from self._hold_interlude(waiting)
                        waiting = self._without_expelled(waiting)
                    order = orders.newest
            else:
                order = orders.newest
            if interludes.in_background:
                interludes.hand_out(rule.ask(waiting), order)
            else:
                orders.dispatch(rule.ask(waiting), order)
        self.finished = True
        self.finished_s = self.env.now

    def _may_go_on(self) -> bool:
        """Whether the server may step, or a round in the background has come to its end."""
        return self._interludes.round_is_in or self.rule.may_step()

    def _end_round(self) -> Generator[simpy.Event, object, None]:
        """End a round in the background; the server's arithmetic for it is all of it that is booked."""
        if self._settings.step_s > 0:
            yield from self._think(self._holding)
        waiting = self._without_expelled(self._interludes.end_round())
        self._interludes.hand_out(waiting, self._orders.newest)

    def _anybody(self) -> bool:
        """Whether there is a member, or somebody may become one."""
        return self.rule.alive or self.members.to_join

    def _look_around(self) -> None:
        """While the server sleeps: may withheld reports come, will anything ever come?"""
        self._withheld.ask(self.rule.missing)
        if self.waits_for_ever and not self.stalled.triggered:
            self.stalled.succeed()

    def _receive(self, ticket: Ticket, reply: JobBringer) -> bool:
        """Take a report; return whether this has changed who takes part."""
        self._books.arrived(ticket)
        worker = ticket.worker
        if worker in self._out:
            return self._receive_late(ticket, reply)
        self._orders.received(ticket, reply)
        if self._awaited:
            self._interludes.heard_from(worker)
        if ticket.kind == self._of_interlude:
            self._interludes.take(ticket)
        else:
            self._active.append(ticket)
            self.rule.report(worker)
        return False

    def _receive_late(self, ticket: Ticket, reply: JobBringer) -> bool:
        """The calls of a worker that is out are paid for, but its result is not used."""
        turned_away = self._turns_away(ticket.worker)
        if not turned_away:
            self._take_in(ticket.worker, ticket.job + 1, reply)
        return not turned_away

    def _receive_newcomer(self, worker: int, reply: JobBringer) -> None:
        if not self._turns_away(worker):
            self._take_in(worker, 0, reply)

    def _receive_rejoining(self, who: tuple[int, int], reply: JobBringer) -> None:
        worker, job = who
        if self._turns_away(worker):
            return
        self._orders.forget_now(worker)
        if worker in self._out:
            self._take_in(worker, job + 1, reply)
        else:
            self._orders.replace(worker, job + 1, reply)

    def _turns_away(self, worker: int) -> bool:
        """Return whether a worker that has sent a message is out for good and gets no job any more."""
        refused = self.members.refused(worker)
        if refused:
            self._clock.switch(worker, Activity.DOWN, self.env.now)
        return refused

    def _take_in(self, worker: int, job: int, reply: JobBringer) -> None:
        """Admit a worker, whose next job has this number and is brought by this reply."""
        self._orders.wait_for_first(worker, job, reply)
        if self.members.admit(worker):
            self._orders.dispatch([worker], self._orders.newest)

    def _evict(self, worker: int) -> None:
        self._orders.withdraw(worker)
        self._interludes.lose(worker)
        self.members.evict(worker, self.env.now)
        self._withheld.let_go(worker)

    def _without_expelled(self, waiting: list[int]) -> list[int]:
        """Expel whom the learning half wants out by now; return who is left of those that wait for a job."""
        newly = set(self._exchange.expelled) - self.members.expelled.keys()
        if not newly:
            return waiting
        for worker in sorted(newly):
            self._interludes.lose(worker)
            self.members.expel(worker, self.env.now)
            self._withheld.let_go(worker)
            if self._orders.dismiss(worker):
                self._clock.switch(worker, Activity.DOWN, self.env.now)
        # Where an interlude has gone on without them, messages may have come in.
        self._active = [ticket for ticket in self._active if ticket.worker not in newly]
        return [worker for worker in waiting if worker not in newly]

    def _take_active(self) -> list[Ticket]:
        active, self._active = self._active, []
        return active

    def _think(self, activity: int = Activity.STEPPING) -> Generator[simpy.Event, object, None]:
        self._clock.switch(self._entity, activity, self.env.now)
        yield self.env.timeout(self._settings.step_s)
        self._clock.switch(self._entity, Activity.WAITING, self.env.now)

    def _take_step(self, active: list[Ticket]) -> Snapshot:
        rule = self.rule
        step, wait_for = rule.step, rule.wait_for
        rule.stepped()
        if self._misconduct:
            self._withheld.stepped(step + 1)
        report = self._books.stepped(step, self.env.now, active, len(rule), wait_for)
        self.report_now = report
        if self._orders.renewable:
            self._orders.stepped(active)
        snapshot = Snapshot(step + 1, self._exchange.take_step(active, report))
        self.finished = (
            self._exchange.finished
            or (self._max_steps is not None and step + 1 >= self._max_steps)
            or (self._max_updates is not None and report.worker_updates >= self._max_updates)
        )
        return snapshot

    def _hold_interlude(self, active: list[int]) -> Generator[simpy.Event | None, object, list[int]]:
        """Return who took part and waits for its next job. All of it, the barrier too, is one activity."""
        self._clock.switch(self._entity, self._holding, self.env.now)
        participants = yield from self._interludes.hold(active, self._take_active, self._inbox.collect)
        self._clock.switch(self._entity, Activity.WAITING, self.env.now)
        return participants
