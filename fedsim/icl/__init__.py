"""In-context learning: tasks, black boxes, prompts, attacks on data, and baselines."""
