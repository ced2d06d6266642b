"""The text of a small scenario whose language model is an endpoint that nobody asks, and its data."""

from __future__ import annotations

ROWS = "id,split,text_a,label\n1,test,a,0\n2,test,b,1\n"

HEAD = """\
algorithm = { kind = "asyndbt", wait_for = 1, tau = 3 }
workers = [{ count = 2 }]
llm = { kind = "independent", latency = { kind = "constant", value_s = 1.0 } }
budget = { server_steps = 2 }

[problem]
kind = "icl"
[problem.model]
"""

TASK = """\
[problem.task]
kind = "text"
file = "rows.csv"
words = ["good", "bad"]
n_candidates = 2
n_words = 1
test_counts = [1, 1]
[problem.task.prompt]
question = "{{ text_a }} {{ fragment }}"
demonstration = "{{ question }}{{ label }}"
query = "{{ question }}"
separator = ""
labels = ["no", "yes"]
"""


def endpoint_text(model: str) -> str:
    """Return the text, whose data are in ``rows.csv``, with these lines in the table ``problem.model``."""
    return f"{HEAD}{model}{TASK}"
