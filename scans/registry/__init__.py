"""Registered models: what stands with a version, which one is the champion, and whether another may become it."""
