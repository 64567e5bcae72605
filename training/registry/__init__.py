"""Registry: versions of models, the gate between candidate and champion, and promotion through it."""
