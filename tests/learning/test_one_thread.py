"""The number of torch's threads, which runs that overlap must give back."""

from __future__ import annotations

import subprocess
import sys

import pytest

OVERLAP = """
import threading, torch
from fedsim.learning.one_thread import one_thread

torch.set_num_threads(3)
inside, out = [threading.Barrier(2, timeout=300) for _ in range(2)]
seen, late, done = [], [], threading.Event()

def first():
    with one_thread():
        inside.wait()
        seen.append(torch.get_num_threads())
    out.wait()
    done.wait()
    late.append(torch.get_num_threads())

def second():
    inside.wait()
    with one_thread():
        out.wait()
        seen.append(torch.get_num_threads())
    late.append(torch.get_num_threads())
    done.set()

threads = [threading.Thread(target={first}), threading.Thread(target={second})]
for thread in threads: thread.start()
for thread in threads: thread.join()
thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
thread.start(); thread.join()
with one_thread():
    pass
print(seen, late, torch.get_num_threads())
"""


def test_threads_made_after_runs_that_overlapped_have_the_number_of_before():
    program = OVERLAP.replace("{first}", "first").replace("{second}", "second")
    # In a process of its own: the number is the process's, and other tests set it.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "[1, 1] [3, 3, 3] 3"


def test_it_is_given_back_after_an_error():
    import torch

    from fedsim.learning.one_thread import one_thread

    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
