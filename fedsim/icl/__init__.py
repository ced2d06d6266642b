"""The in-context-learning problem that a worker holds: tasks, black boxes, and the oracle over both."""
