"""Distributed bilevel tuning: AsynDBT, its synchronous form SDBT and its centralised form cenDBT.

`settings` are the paper's update rules, `distributed` and the three members what each form tells the clock.
The `Tuner` is the learning half: workers' steps (19)-(20), the server's (21)-(22), and polyhedron updates,
which are interludes of K `inner_rounds` over the `inner_loop` (7)-(13). `polyhedron` makes the cuts
(28)-(33), `lagrangian` weighs them, `robust` limits what one message can do.
"""
