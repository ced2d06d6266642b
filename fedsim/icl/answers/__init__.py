"""Asking a language model: each prompt once, looked up first, kept on disk, recorded."""
