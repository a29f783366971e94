"""The server is killed at random moments under load. What it acked is there, once."""

from __future__ import annotations

import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.loading import Load, check_whole
from tests.acceptance.processes import Place, wait_for

LONG = os.environ.get("ANALECT_FAULT_ROUNDS") == "long"
SECONDS_A_ROUND = 12


@pytest.mark.faults
@pytest.mark.timeout(120 if not LONG else 3600)
@pytest.mark.parametrize(
    ("database", "rounds"), [("sqlite", 100 if LONG else 4), ("postgres", 30 if LONG else 3)]
)
def test_what_was_acked_outlives_kills(
    database: str, rounds: int, place: Place, request: pytest.FixtureRequest
) -> None:
    if database == "postgres":
        place.variables["ANALECT_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    # Claims of a killed process go back after a lease.
    place.variables["ANALECT_PROCESSING__LEASE_SECONDS"] = "3"
    chance = random.Random(f"{database} {rounds}")
    load = Load(pause=0.0 if LONG else 0.03)
    for number in range(rounds):
        killed_under_load(place, load, chance, while_starting=number % 5 == 4)
    with place.server() as server:
        load.finish(server.url)
        assert len(load.acked) > rounds * 20
        check_whole(server, load)
        sys.stdout.write(
            f"{database}: {rounds} kills, {len(load.acked)} records acked, "
            f"{load.duplicates} of them stored before their answer was lost\n"
        )
        assert server.stop() == 0
    for report in place.json("verify")["items"]:
        assert report["truth"] == report["indexed"] == len(load.acked)


def killed_under_load(
    place: Place, load: Load, chance: random.Random, *, while_starting: bool
) -> None:
    """One life of a server: it is killed while it starts, or a moment after its first ack."""
    server = place.start()
    stopped, pause = threading.Event(), threading.Event()
    try:
        if while_starting:
            pause.wait(chance.uniform(0.2, 2.5))
            return
        assert server.listen()
        with ThreadPoolExecutor(load.connections) as pool:
            writers = load.write(server.url, stopped, pool)
            try:
                before = len(load.acked)
                wait_for(lambda: len(load.acked) > before)
                pause.wait(chance.uniform(0, 0.8))
                server.kill()
            finally:
                stopped.set()
            for writer in writers:
                writer.result(SECONDS_A_ROUND)
    finally:
        server.close()
