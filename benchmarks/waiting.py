"""Another process that reads and writes a Postgres all the time, and how long it had to wait."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from analect.store.engine import open_engine, translating, write_transaction

_NEWEST = "SELECT id, kind FROM records ORDER BY id DESC LIMIT 50"
_OLDEST = "SELECT id, kind FROM records ORDER BY id LIMIT 50"
_WRITE = (
    "INSERT INTO records (id, kind, occurred_at, received_at, content_hash)"
    " VALUES ('{}', 'task', 0, 0, 'x')"
)
_COMMIT = (
    "INSERT INTO commits (txid, operation, ids, committed_at)"
    " VALUES (pg_current_xact_id()::text::bigint, 'none', '', 0)"
)
_PAUSE = 0.002


@contextmanager
def waiting(url: str) -> Iterator[Callable[[float], float]]:
    """Within the block: a function that looks on for some more seconds and says the longest wait
    since the last time, in ms.
    """
    spawning = multiprocessing.get_context("spawn")
    mine, other = spawning.Pipe()
    process = spawning.Process(target=_work, args=(url, other), daemon=True)
    process.start()
    mine.recv()

    def longest(seconds: float) -> float:
        time.sleep(seconds)
        mine.send("say")
        return float(mine.recv())

    try:
        yield longest
    finally:
        mine.send("stop")
        process.join()


def _work(url: str, pipe: Any) -> None:
    engine = open_engine(url)
    _once(engine)
    pipe.send("ready")
    worst = 0.0
    while True:
        began = time.perf_counter()
        _once(engine)
        worst = max(worst, time.perf_counter() - began)
        time.sleep(_PAUSE)
        if pipe.poll():
            if pipe.recv() == "stop":
                engine.dispose()
                return
            pipe.send(worst * 1000)
            worst = 0.0


def _once(engine: Engine) -> None:
    """Pages of both ends, and a write, which is taken back: it is of the month after the one that
    the benchmarks fill.
    """
    with translating(), engine.connect() as connection:
        for page in (_NEWEST, _OLDEST):
            connection.exec_driver_sql(page).fetchall()
    with write_transaction(engine) as connection:
        inner = connection.begin_nested()
        fresh = f"019c2000-{uuid.uuid4().hex[:4]}-7000-8000-{uuid.uuid4().hex[:12]}"
        connection.exec_driver_sql(_WRITE.format(fresh))
        connection.exec_driver_sql(_COMMIT)
        inner.rollback()
