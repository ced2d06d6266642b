"""Answers of a language model: asked once per prompt, kept on disk, recorded."""
