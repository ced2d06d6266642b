"""The timing half of a run: when things happen, never what is learned.

`run_timeline` runs SimPy processes for the server and for each worker. What it knows of an algorithm is in
its `Schedule`: the step rule, the kinds of jobs and what each costs, rounds behind a barrier. It hands
contents from the learning half (`Exchange`) to the workers and tickets back, and looks into neither.

Who owns what; nobody else writes it:

- `Server`: the active set, and the order of things: collect reports, step, dispatch jobs, hold an interlude.
- `Inbox`: messages that the server has not read, and its sleep.
- `StepRule` or `RoundRule`: whose report the server waits for, and whom it asks next.
- `Orders`: who is busy with which job, and who waits for the next one.
- `Members`: who takes part, who has yet to join, who was evicted, who is lost.
- `Interludes`: the barrier, and the reports of the present round.
- `Withheld`: finished reports that malicious workers withhold.
- `Books`: what the server counts. `ActivityClock`: the seconds of every entity, by activity.
- `Worker`: the job at hand, and the number of the next one.

One word for each direction: a worker *reports* a finished job to the server; the server *dispatches* a job
to a worker that waits for one.

Events at one instant run in the order in which they were scheduled. The server takes messages in order of
arrival and tests its step rule after each one. A worker's next job is made after its report was taken, so
it never reads a state of the server that does not know of its last job. A worker that goes down at the
instant at which its job would end has not finished it. What would happen at the horizon does not happen.
"""
