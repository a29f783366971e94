"""Load whose every record can be told whole, once, or lost."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests import asking
from tests.acceptance.processes import Server, wait_for

SOURCE = "load"
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "kelp")


def record_of(number: int) -> dict[str, Any]:
    """Record ``number``: always the same, with a word that no other record has."""
    noise = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
    told = " ".join(_WORDS[byte % len(_WORDS)] for byte in noise)
    return {
        "kind": "message",
        "external_id": f"n{number}",
        "source": SOURCE,
        "occurred_at": f"2025-06-{number % 28 + 1:02d}T12:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "thread_id": f"thread-{number % 97}",
        "turn": number,
        "tags": ["load", f"tag-{number % 7}"],
        "input": f"{word_of(number)} {told}",
        "output": {"told": told, "number": number},
    }


def word_of(number: int) -> str:
    """The word by which record ``number`` alone is found."""
    return "q" + "".join("bcdfghjklm"[int(digit)] for digit in str(number))


@dataclass
class Load:
    """Connections that write until stopped, and what they heard.

    What was sent and not acked is sent again, as it was: so every record that was ever sent is
    acked in the end, many after their first try was stored and its answer lost.
    """

    connections: int = 4
    batch: int = 20
    pause: float = 0.0  # seconds between an answer and what is sent next
    acked: set[int] = field(default_factory=set)
    duplicates: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    refusals: list[httpx.Response] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _next: int = 0
    _again: list[list[int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, url: str, stopped: threading.Event, pool: ThreadPoolExecutor) -> list[Any]:
        """Begin to write over every connection; odd ones send single records."""
        return [
            pool.submit(self._connection, url, stopped, 1 if n % 2 else self.batch)
            for n in range(self.connections)
        ]

    def finish(self, url: str) -> None:
        """Send again, until acked, what was not."""
        with asking.client(url, timeout=30) as client:
            while self._again:
                self._send(client, self._again.pop())

    def _connection(self, url: str, stopped: threading.Event, size: int) -> None:
        with asking.client(url, timeout=30) as client:
            while not stopped.is_set():
                answered = self._send(client, self._numbers(size))
                stopped.wait(self.pause if answered else 0.02)

    def _numbers(self, size: int) -> list[int]:
        with self._lock:
            if self._again:
                return self._again.pop()
            first, self._next = self._next, self._next + size
            return list(range(first, first + size))

    def _send(self, client: httpx.Client, numbers: list[int]) -> bool:
        try:
            records = [record_of(number) for number in numbers]
            answer = client.post("/v1/records", json=records if len(records) > 1 else records[0])
        except httpx.TransportError:
            answer = None
        with self._lock:
            if answer is not None:
                self.statuses[answer.status_code] += 1
            if answer is None or answer.status_code != httpx.codes.OK:
                self._again.append(numbers)
                if answer is not None:
                    self.refusals.append(answer)
                return False
            body = answer.json()
            self.duplicates += body["duplicates"]
            if body["rejected"] or body["accepted"] + body["duplicates"] != len(numbers):
                self.wrong.append(answer.text)
            self.acked.update(numbers)
        return True


def stored_in(server: Server) -> Iterator[dict[str, Any]]:
    """Every record of the store, once, in the order of commits."""
    after: str | None = None
    while True:
        params = {"limit": "1000", **({"after": after} if after else {})}
        page = server.http.get("/v1/changes", params=params).json()
        yield from (item["record"] for item in page["items"] if item["operation"] == "put")
        if not page["items"]:
            return
        after = page["next"]


def check_whole(server: Server, load: Load) -> None:
    """Every acked record is there, once, as it was sent; nothing else is; all is indexed."""
    assert not load.wrong
    seen: Counter[int] = Counter()
    for record in stored_in(server):
        number = record["turn"]
        seen[number] += 1
        for name, value in record_of(number).items():
            if name != "occurred_at":
                assert record[name] == value, (number, name)
    assert set(seen) == load.acked
    assert set(seen.values()) <= {1}

    status = server.settle()
    assert not status["quarantine"]
    assert status["store"]["records"] == len(seen)
    for name, index in status["indexes"].items():
        assert index["records"] == len(seen), name
    step = max(1, len(load.acked) // 100)
    for number in sorted(load.acked)[::step]:
        found = server.http.get("/v1/search", params={"q": word_of(number)}).json()["items"]
        assert [hit["record"]["turn"] for hit in found] == [number]


def wait_acked(load: Load, more: int) -> None:
    """Wait until ``more`` records than now are acked."""
    aim = len(load.acked) + more
    wait_for(lambda: len(load.acked) >= aim)
