"""The program: ``fedsim``, and ``python -m fedsim``."""

import os
import signal
import sys

# Python searches the folder that a module is started in before all others; the command `fedsim` never does.
# Where that is not wished, `python -P -m fedsim` also keeps Python's own start from it.
if (
    __name__ == "__main__" and not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]  # noqa: PTH109 -- pathlib comes from that path
):
    del sys.path[0]


def program() -> int:
    """Run the command line as a program of its own, which Ctrl-C finds ready at any moment."""
    code = 128 + signal.SIGINT
    try:
        from fedsim.cli import main

        code = main()
        _hear_nothing_more()
    except KeyboardInterrupt:
        _hear_nothing_more()
        if "fedsim.cli" not in sys.modules:  # nothing of ours is loaded yet
            os.write(2, b"fedsim: stopped before anything was done\n")
    return code


def _hear_nothing_more() -> None:
    """Let Python clear up: what has to be said is said."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


if __name__ == "__main__":
    sys.exit(program())
