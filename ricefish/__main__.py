"""`python -m ricefish` is the `ricefish` command."""

from ricefish.cli.app import app

app()
