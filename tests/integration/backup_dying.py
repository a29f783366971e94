"""A process that makes backups and dies at the point it is told: told over standard input.

A line is ``job point``: a child does the job and kills itself at its point with this number; names
of points that follow, between commas, are passed by. The answer is the name of the point, or
``done`` when there are not so many.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import structlog

from analect.lifecycle.backup.files import FilesIn, nowhere
from analect.lifecycle.backup.keeping import Keeping
from analect.lifecycle.backup.pruning import prune
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.backup.shipper import Shipper
from analect.lifecycle.places.folder import FolderPlace
from analect.model.ids import DAY
from analect.settings import Settings
from analect.store.engine import open_engine
from tests.integration.backing_up import Backed, clock


def main() -> None:
    """Serve lines until there are no more."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for line in sys.stdin:
        job, point, passed = line.rstrip("\n").split(" ", 2)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                do(job, Dying(int(point), {*passed.split(",")}, writing))
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

    def __init__(self, left: int, passed: set[str], told: int) -> None:
        self._left = left
        self._passed = passed
        self._told = told

    def __call__(self, name: str) -> None:
        self._left -= name not in self._passed
        if self._left < 0:
            os.write(self._told, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)


def do(job: str, checkpoint) -> None:
    """One job of backups, with the settings of the environment."""
    backed = Backed(Settings(), os.environ["TEST_BACKUPS"])
    made = backed.job(checkpoint=checkpoint)
    if job == "full":
        made.full()
    elif job == "incremental":
        made.incremental()
    elif job == "ship":
        Shipper(made).ship()
    elif job == "prune":
        # Two days on, what the killed ones were writing is old enough to be taken for theirs.
        prune(
            backed.engine,
            backed.catalog,
            Keeping(1, 0, 0, 0, 0),
            clock=lambda: clock() + 2 * DAY,
            checkpoint=checkpoint,
        )
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
