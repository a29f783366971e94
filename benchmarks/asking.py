"""Questions to a filled server, over HTTP, one after another."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from benchmarks.client import Connection
from benchmarks.material import PEOPLE, Author, vocabulary
from benchmarks.serving import Server

PER_KIND = 40
DEADLINE = 25.0
"""Seconds for one kind of question; what was asked until then counts."""


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds, sorted."""

    taken: list[float]

    def at(self, share: float) -> float:
        """A quantile."""
        return self.taken[min(len(self.taken) - 1, int(len(self.taken) * share))]

    def __str__(self) -> str:
        return f"p50 {self.at(0.5):.1f}, p95 {self.at(0.95):.1f} ms of {len(self.taken)}"


def pages(server: Server, records: int) -> dict[str, Times]:
    """Pages of 50 by what has an index."""
    draw = random.Random(3)
    newest = server.get("/v1/status")["store"]["newest"]
    day = newest[:10]

    def session() -> int:
        return draw.randrange(max(1, records // 160)) * 10 + draw.randrange(10)

    return {
        "thread": ask(
            server, lambda: f"/v1/threads/thread-{session()}-{draw.randrange(2)}?limit=50"
        ),
        "session": ask(server, lambda: listed(session=f"session-{session()}")),
        "kind": ask(
            server, lambda: listed(kind=draw.choice(("interaction", "llm_call", "message")))
        ),
        "tag": ask(server, lambda: listed(tag=f"topic-{draw.randrange(200)}")),
        "common tag": ask(server, lambda: listed(tag="bench")),
        "time": ask(server, lambda: listed(to=f"{day}T{draw.randrange(24):02d}:30:00Z")),
    }


def filters(server: Server) -> dict[str, Times]:
    """Pages of 50 by other filters within a day."""
    draw = random.Random(4)
    newest = server.get("/v1/status")["store"]["newest"]
    day = {"from": f"{newest[:10]}T00:00:00Z", "to": newest}
    choices: dict[str, Callable[[], dict[str, str]]] = {
        "service": lambda: {"service": f"service-{draw.randrange(7)}"},
        "status": lambda: {"status": "error"},
        "model and project": lambda: {
            "model": f"model-{draw.randrange(4)}",
            "project": f"project-{draw.randrange(5)}",
        },
        "dimension": lambda: {"dim.language": draw.choice(("en", "de", "fr"))},
        "dimension, none has it": lambda: {"dim.language": "xx"},
        "success": lambda: {"success": "false"},
        "subject": lambda: {"subject": f"person-{draw.randrange(PEOPLE)}"},
    }
    return {
        name: ask(server, lambda choose=choose: listed(**choose(), **day))
        for name, choose in choices.items()
    }


def text(server: Server) -> dict[str, Times]:
    """The fixed mix: rare, middling and common words and phrases."""
    draw = random.Random(5)
    words = vocabulary()

    def word(low: int, high: int) -> str:
        return words[draw.randrange(low, high)]

    forms: dict[str, Callable[[], str]] = {
        "rare word": lambda: word(20_000, 60_000),
        "middling word": lambda: word(500, 3_000),
        "common word": lambda: word(3, 40),
        "two middling words": lambda: f"{word(300, 2_000)} {word(300, 2_000)}",
        "common and rare": lambda: f"{word(3, 40)} {word(5_000, 30_000)}",
        "phrase of common words": lambda: f'"{word(0, 20)} {word(0, 20)}"',
        "phrase, middling": lambda: f'"{word(0, 30)} {word(100, 600)}"',
        "prefix": lambda: f"{word(2_000, 9_000)[:5]}*",
        "common word and tag": lambda: word(3, 40) + f"&tag=topic-{draw.randrange(200)}",
    }
    return {name: ask(server, lambda form=form: searched(form())) for name, form in forms.items()}


def semantic(server: Server) -> dict[str, Times]:
    """Short questions by meaning."""
    author = Author(99, 100)
    return {
        "semantic": ask(server, lambda: searched(author.text(9), mode="semantic", limit=10), 150)
    }


def ask(server: Server, path: Callable[[], str], count: int = PER_KIND) -> Times:
    """Ask ``count`` times; three more first that do not count."""
    connection = Connection(server.port)
    taken: list[float] = []
    began = time.perf_counter()
    for number in range(count + 3):
        target = path()
        started = time.perf_counter()
        status, body = connection.get(target)
        if number >= 3:
            taken.append((time.perf_counter() - started) * 1000)
        if status not in {200, 404}:
            raise RuntimeError(f"{target} was answered {status}: {body[:200]!r}")
        if time.perf_counter() - began > DEADLINE and taken:
            break
    connection.close()
    return Times(sorted(taken))


def together(groups: dict[str, Times]) -> Times:
    """The mix, every kind with the same weight."""
    return Times(sorted(one for times in groups.values() for one in times.taken))


def listed(**values: str) -> str:
    """A page of 50."""
    return "/v1/records?" + urlencode({**values, "limit": "50"})


def searched(question: str, **values: object) -> str:
    """A search; ``question`` may end in further parameters."""
    words, _, more = question.partition("&")
    rest = f"&{more}" if more else ""
    return f"/v1/search?q={quote(words)}{rest}" + "".join(f"&{k}={v}" for k, v in values.items())
