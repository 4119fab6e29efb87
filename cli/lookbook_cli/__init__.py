"""The `lookbook` command, a client of the HTTP API."""
