"""A process that makes backups and dies at the point it is told: told over standard input.

A line is ``job point``: a child does the job and kills itself at its point with this number. The
answer is the name of the point, or ``done`` when there are not so many.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import structlog

from analect.lifecycle.backup.files import FilesIn, nowhere
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.backup.shipper import Shipper
from analect.lifecycle.places.folder import FolderPlace
from analect.settings import Settings
from analect.store.engine import open_engine
from tests.integration.backing_up import Backed


def main() -> None:
    """Serve lines until there are no more."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for line in sys.stdin:
        job, _, point = line.strip().partition(" ")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                do(job, Dying(int(point), writing))
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as told:
            name = told.read()
        if os.WIFEXITED(status):
            name = "done" if os.WEXITSTATUS(status) == 0 else "failed"
        sys.stdout.write(name + "\n")
        sys.stdout.flush()


class Dying:
    """Counts down, then ends as if the power were cut."""

    def __init__(self, left: int, told: int) -> None:
        self._left = left
        self._told = told

    def __call__(self, name: str) -> None:
        self._left -= 1
        if self._left < 0:
            os.write(self._told, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)


def do(job: str, checkpoint) -> None:
    """One job of backups, with the settings of the environment."""
    folder = Path(os.environ["TEST_BACKUPS"])
    backed = Backed(Settings(), folder)
    made = backed.job(checkpoint=checkpoint)
    if job == "full":
        made.full()
    elif job == "incremental":
        made.incremental()
    elif job == "ship":
        Shipper(made).ship()
    else:
        engine = open_engine(os.environ["TEST_ELSEWHERE"])
        tiers = FolderPlace(Path(os.environ["TEST_TIERS"]))
        restore(
            engine,
            backed.catalog,
            backed.catalog.newest(),
            backed.keys.shards,
            files=FilesIn(tiers, nowhere, checkpoint=checkpoint),
            checkpoint=checkpoint,
        )


if __name__ == "__main__":
    main()
