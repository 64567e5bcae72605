"""The `ricefish` command, one module per subcommand."""
