"""Processes: what a server and a worker consist of, how they start and drain, and whether they are healthy."""
