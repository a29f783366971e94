"""What is measured, one function a group of rows. Each returns figures by the row's name."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import asking
from benchmarks.asking import Times
from benchmarks.client import Connection
from benchmarks.material import prose_file, request, requests_file
from benchmarks.serving import Places, Server, finished, serving

BATCH = 100
LATER = {"processing__auto": "false"}

Figures = dict[str, dict[str, Any]]
"""Row name -> {"value": the figure in the row's unit, "note": how it came about}."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    first: int
    sustained: int
    rounds: int
    seconds: float
    drain: float


QUICK = Scale(first=50_000, sustained=50_000, rounds=2, seconds=8, drain=120)
FULL = Scale(first=100_000, sustained=1_000_000, rounds=3, seconds=20, drain=1500)


def first(places: Places, database: str, scale: Scale) -> Figures:
    """Batches into an empty store, indexed later."""
    file = requests_file(places.root, scale.first, BATCH)
    rates, tails = [], []
    for _ in range(scale.rounds):
        with places.fresh(database, **LATER) as server:
            sent = server.send(file, connections=4)
        rates.append(rate(sent, BATCH))
        tails.append(took(sent).at(0.99))
    shown = ", ".join(f"{one:,.0f}" for one in rates)
    note = f"median of {shown}; {scale.first:,} records; p99 {statistics.median(tails):.0f} ms"
    return {"first": {"value": statistics.median(rates), "note": note}}


def single(places: Places, database: str, scale: Scale) -> Figures:
    """One record a request, indexers running."""
    file = requests_file(places.root, 60_000, 1)
    with places.fresh(database) as server:
        server.warm()
        sent = server.send(file, connections=8, seconds=scale.seconds)
    note = f"{len(sent['answers']):,} requests, {took(sent)}, p99 {took(sent).at(0.99):.0f}"
    return {"single": {"value": rate(sent, 1), "note": note}}


def half(places: Places, database: str, scale: Scale) -> Figures:
    """Batches at 4,000 records/s, indexers running."""
    file = requests_file(places.root, scale.first, BATCH)
    with places.fresh(database) as server:
        server.warm()
        sent = server.send(file, connections=4, rate=4000 / BATCH, seconds=scale.seconds)
    times = took(sent)
    note = f"{times}; reached {rate(sent, BATCH):,.0f}/s"
    return {"half": {"value": times.at(0.99), "note": note}}


def findable(places: Places, database: str, scale: Scale) -> Figures:
    """From the ack of a record with a word of its own until a search finds it, at 500/s."""
    file = requests_file(places.root, 60_000, 10)
    waits: list[float] = []
    with places.fresh(database) as server:
        server.warm()
        load = server.sending(file, connections=4, rate=49, seconds=scale.seconds)
        until = time.perf_counter() + scale.seconds - 1
        threads = [
            threading.Thread(target=_probe, args=(server, number, until, waits))
            for number in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent = json.loads(finished(load))
    times = Times(sorted(waits))
    note = f"{times}; beside {rate(sent, 10):,.0f} records/s"
    return {"findable": {"value": times.at(0.99) / 1000, "note": note}}


def _probe(server: Server, number: int, until: float, waits: list[float]) -> None:
    connection = Connection(server.port)
    count = 0
    letters = "bcdfghjklm"
    while time.perf_counter() < until:
        count += 1
        word = "zq" + "xv"[number] + "".join(letters[int(digit)] for digit in str(count))
        now = datetime.now(UTC).isoformat()
        body = json.dumps({"kind": "event", "occurred_at": now, "input": f"{word} here"})
        status, _ = connection.exchange(request(body.encode()))
        acked = time.perf_counter()
        if status != 200:
            raise RuntimeError(f"a probe was answered {status}")
        while time.perf_counter() - acked < 60:
            _, answer = connection.get(f"/v1/search?q={quote(word)}&limit=1")
            if json.loads(answer).get("items"):
                break
            time.sleep(0.02)
        waits.append((time.perf_counter() - acked) * 1000)
    connection.close()


def size(places: Places, database: str, _scale: Scale) -> Figures:
    """Bytes on disk of 4 KB records, indexes of SQL included, as they lie after the load."""
    total = 20_000
    file = prose_file(places.root, total, 4096, BATCH)
    with places.fresh(database, **LATER) as server:
        before = _bytes(places, server)
        server.send(file, connections=4)
        after = _bytes(places, server)
    return {
        "size": {
            "value": (after - before) / total / 1024,
            "note": f"{total:,} records of 4,096 bytes of JSON, real English",
        }
    }


def _bytes(places: Places, server: Server) -> int:
    """Of the truth, once everything is in its place."""
    if server.url is not None:
        places.postgres.execute(server.url, "CHECKPOINT")
        found = places.postgres.execute(server.url, "SELECT pg_database_size(current_database())")
        return int(found[0][0])
    import sqlite3

    with sqlite3.connect(server.home / "analect.db", timeout=30) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return (server.home / "analect.db").stat().st_size


def sustained(places: Places, database: str, scale: Scale) -> Figures:
    """From nothing to the full number with indexers running, then every kind of question."""
    file = requests_file(places.root, scale.sustained, BATCH)
    found: Figures = {}
    with places.empty(database) as (home, url):
        with serving(database, home, url) as server:
            _fill(server, file, scale, found)
            # Questions are timed while nothing else goes on. Searches are asked for on one
            # database only: on the other the indexers are switched off instead of waited for.
            if database == "sqlite":
                found["sustained"]["note"] += f"; {_drained(server, scale.drain)}"
                _questions(server, scale, found, ("pages", "filters", "text", "semantic"))
            else:
                found["sustained"]["note"] += f"; {server.waiting():,} entries wait for indexing"
            found["memory"]["note"] += f"; {server.memory.resident:.0f} in the end"
        if database != "sqlite":
            with serving(database, home, url, **LATER) as server:
                _questions(server, scale, found, ("pages", "filters"))
    return found


def _fill(server: Server, file: Path, scale: Scale, found: Figures) -> None:
    server.warm()
    sent = server.send(file, connections=4)
    found["sustained"] = {
        "value": rate(sent, BATCH),
        "note": f"{scale.sustained:,} records; slowest tenth {min(_slices(sent, 10)):,.0f}/s; "
        f"p99 {took(sent).at(0.99):.0f} ms; refused {sent['refused'] or 'none'}",
    }
    found["memory"] = {
        "value": server.memory.resident,
        "note": f"{server.memory.own:.0f} without mapped files",
    }


def _drained(server: Server, patience: float) -> str:
    """Wait for the indexers; says how long that took."""
    seconds = server.wait_indexed(patience)
    if seconds is not None:
        return f"indexers done {seconds:.0f} s later"
    return f"indexers not done {patience:.0f} s later, {server.waiting():,} entries wait"


def _questions(server: Server, scale: Scale, found: Figures, names: tuple[str, ...]) -> None:
    indexed = {
        name: one.get("records", 0) for name, one in server.get("/v1/status")["indexes"].items()
    }
    held = {"text": indexed["text"], "semantic": indexed["vectors"]}
    kinds: dict[str, Callable[[], dict[str, Times]]] = {
        "pages": lambda: asking.pages(server, scale.sustained),
        "filters": lambda: asking.filters(server),
        "text": lambda: asking.text(server),
        "semantic": lambda: asking.semantic(server),
    }
    for name in names:
        groups = kinds[name]()
        parts = ", ".join(f"{part} {times.at(0.95):.0f}" for part, times in groups.items())
        # Each part must hold where each is asked for; of the texts the mix.
        worst = max(times.at(0.95) for times in groups.values())
        value = asking.together(groups).at(0.95) if name == "text" else worst
        over = held.get(name, scale.sustained)
        found[name] = {"value": value, "note": f"over {over:,}; p95 by kind: {parts}"}


def rate(sent: dict[str, Any], batch: int) -> float:
    """Records acked a second."""
    return len(sent["answers"]) * batch / max(at for at, _ in sent["answers"])


def took(sent: dict[str, Any]) -> Times:
    """How long each request took."""
    return Times(sorted(seconds * 1000 for _, seconds in sent["answers"]))


def _slices(sent: dict[str, Any], parts: int) -> list[float]:
    """The rate of each tenth of the requests."""
    ends = sorted(at for at, _ in sent["answers"])
    step = max(1, len(ends) // parts)
    marks = [0.0, *ends[step - 1 :: step]]
    return [step * BATCH / (b - a) for a, b in pairwise(marks)]


MEASURES: dict[str, Callable[[Places, str, Scale], Figures]] = {
    "first": first,
    "single": single,
    "half": half,
    "findable": findable,
    "size": size,
    "sustained": sustained,
}
