"""Observability: logs, traces, metrics, and looks at what may not answer. Told by callbacks, it imports no room."""
