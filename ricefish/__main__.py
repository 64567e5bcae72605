"""`python -m ricefish` is the `ricefish` command."""

from ricefish.cli import app

app()
