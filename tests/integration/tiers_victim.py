"""A retention run that is killed at every named point, once each, and run again after each kill.

    python tiers_victim.py DATABASE_URL TIERS_FOLDER POLICY_JSON

Prints a line of JSON a run: the point it was killed at, or null once a run came to its end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import structlog

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.run import Retention
from analect.store.engine import open_engine


def run(url: str, folder: str, policy: str, seen: set[str], told: int) -> None:
    def step(name: str) -> None:
        if name not in seen:
            os.write(told, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    engine = open_engine(url)
    retention = Retention(
        engine,
        FolderPlace(Path(folder)),
        clock=lambda: time.time_ns() // 1000,
        random_bytes=os.urandom,
        processors=("text",),
        step=step,
    )
    policies = [parse_policy(json.loads(policy), name="test")]
    while retention.run(policies).planned:
        pass
    engine.dispose()


def main() -> None:
    seen: set[str] = set()
    while True:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            run(*sys.argv[1:], seen, writing)
            os._exit(0)
        os.close(writing)
        point = os.read(reading, 100).decode() or None
        os.close(reading)
        _, status = os.waitpid(child, 0)
        if point is None and status:
            raise SystemExit("a run failed without having been killed")
        sys.stdout.write(json.dumps(point) + "\n")
        sys.stdout.flush()
        if point is None:
            return
        seen.add(point)
        sys.stdin.readline()  # the test has looked at what is left


if __name__ == "__main__":
    main()
