"""Prompt words and demonstrations for a black-box language model: settings, oracle, measurements."""
