"""Evaluation: scores on held-out volumes, and the figures of a run."""
