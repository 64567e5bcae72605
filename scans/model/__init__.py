"""Model: what a model says of itself and of what it has seen; training writes it, serving believes it."""
