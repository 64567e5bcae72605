"""What a workstation installs: a Python client of the server, and the `ricefish` command."""
