"""Commands of a store, as a person gives them, in this process."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from analect.cli.app import app
from analect.settings import Settings


class Commands:
    """Runs commands with what a store's environment says; a test of them uses the fixture
    ``commands_without_logs`` too.
    """

    def __init__(self, settings: Settings, **more: object) -> None:
        """Those of the store of ``settings``, with ``more`` variables."""
        self.variables = {
            "ANALECT_HOME": str(settings.home),
            "ANALECT_KEYS__RING": str(settings.ring),
            **{name: str(value) for name, value in more.items()},
        }
        if settings.database_url is not None:
            self.variables["ANALECT_DATABASE_URL"] = settings.database_url.get_secret_value()

    def __call__(self, *words: str, said: str | None = None) -> tuple[int, Any]:
        """Its exit code, and what it answered as JSON or, without an answer, said of its error."""
        done = CliRunner().invoke(app, [*words, "--json"], env=self.variables, input=said)
        return done.exit_code, (json.loads(done.stdout) if done.stdout else done.stderr)
