"""The command ``analect``."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from analect.cli.app import app

    app(prog_name="analect")
