"""Runs as trace events for Perfetto and chrome://tracing: what machines did when, and what used it."""
