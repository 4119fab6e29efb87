"""So that `python -m lookbook_cli` is the command too."""

from lookbook_cli.main import app

app()
