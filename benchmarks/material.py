"""What is sent: whole HTTP requests with records in them, made before anything is timed.

Words come from a Zipf-distributed vocabulary of 60,000, with numbers, dates, versions, links and
code between them as in real dialogues; one record in ten holds personal data. About eight records
make a thread, sixteen a session, and twenty thousand people speak. Record time goes over ten
days, so that a day holds a tenth of the store. ``prose`` is real English, for sizes on disk.
"""

from __future__ import annotations

import argparse
import asyncio.base_events
import decimal
import pydoc
import random
import re
import typing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np

VOCABULARY = 60_000
DAYS = 10
PEOPLE = 20_000
CHUNK = 20_000
_SYLLABLES = [
    consonant + vowel + end
    for consonant in "bcdfghklmnprstvw"
    for vowel in "aeiou"
    for end in ("", "n", "r", "s")
]
_PLANTED = (
    "write to {name}.{number}@example.org",
    "call me on +49 30 {number:07d}",
    "the address was 192.168.{low}.{high}",
    "charge 4111 1111 1111 1111 for {name}",
)
_ASIDES = (
    "order {number}",
    "on 2025-{month:02d}-{low:02d}",
    "version {low}.{high}",
    "see https://docs.example.org/{name}",
    "`{name}_{low}({high})`",
    "about {low}.{high} %",
)
_encode = msgspec.json.Encoder().encode


def vocabulary() -> list[str]:
    """Word n of rank n; frequent words are short, as in a language."""
    words: list[str] = []
    base = len(_SYLLABLES)
    for rank in range(VOCABULARY):
        word, rest = "", rank
        while True:
            word += _SYLLABLES[rest % base]
            rest //= base
            if rest == 0:
                break
            rest -= 1
        words.append(word)
    return words


class Author:
    """Writes the records from number ``first`` on."""

    def __init__(self, first: int, total: int, *, words: int = 108) -> None:
        self._random = random.Random(first)
        self._draw = np.random.default_rng(first)
        weights = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
        self._weights = weights / weights[-1]
        self._vocabulary = np.array(vocabulary(), dtype=object)
        self._words = words
        self._step = timedelta(days=DAYS) / total
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._begin = today - timedelta(days=DAYS)

    def text(self, words: int) -> str:
        """Sentences."""
        ranks = np.searchsorted(self._weights, self._draw.random(words))
        drawn = list(self._vocabulary[ranks])
        for place in range(0, words, 11):
            drawn[place] = f"{drawn[place].capitalize()}"
            if place:
                drawn[place - 1] += "."
        drawn[words // 2] = self._filled(_ASIDES)
        return " ".join(drawn)

    def record(self, number: int) -> dict[str, object]:
        """Record ``number``, about 1 KB of JSON."""
        draw = self._random
        session = number // 160 * 10 + number % 10  # ten speak at a time
        person = session * 7919 % PEOPLE
        given, answer = self.text(self._words // 3), self.text(self._words * 2 // 3)
        if number % 10 == 3:
            given = f"{given} {self._filled(_PLANTED)}."
        return {
            "kind": ("interaction", "llm_call", "message")[number % 3],
            "occurred_at": (self._begin + number * self._step).isoformat(),
            "project": f"project-{number % 5}",
            "environment": "production",
            "thread_id": f"thread-{session}-{number // 80 % 2}",
            "session_id": f"session-{session}",
            "subject": f"person-{person}",
            "service": f"service-{number % 7}",
            "model": f"model-{number % 4}",
            "status": "ok" if number % 20 else "error",
            "success": number % 20 != 0,
            "duration_ms": draw.randrange(50, 5000),
            "input_tokens": draw.randrange(10, 900),
            "output_tokens": draw.randrange(10, 900),
            "tags": [f"topic-{draw.randrange(200)}", f"team-{draw.randrange(9)}", "bench"],
            "dimensions": {"language": ("en", "de", "fr")[number % 3]},
            "input": given,
            "output": answer,
        }

    def _filled(self, forms: tuple[str, ...]) -> str:
        draw = self._random
        return draw.choice(forms).format(
            name=self._vocabulary[draw.randrange(200, 3000)],
            number=draw.randrange(10**6),
            month=draw.randrange(1, 13),
            low=draw.randrange(1, 29),
            high=draw.randrange(100),
        )


def request(body: bytes, question: str = "") -> bytes:
    """A whole ``POST /v1/records``."""
    head = (
        f"POST /v1/records{question} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def requests_file(folder: Path, total: int, batch: int) -> Path:
    """``total`` records in requests of ``batch``, each after its length; made when absent."""
    path = folder / f"requests-{total}x{batch}.bin"
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("wb") as out, ProcessPoolExecutor(2) as pool:
            for blob in pool.map(_chunk, *zip(*_chunks(total, batch), strict=True)):
                out.write(blob)
        part.rename(path)
    return path


def prose_file(folder: Path, total: int, size: int, batch: int) -> Path:
    """``total`` records of ``size`` bytes of JSON, mostly real English."""
    path = folder / f"prose-{total}x{batch}.bin"
    if not path.exists():
        text = prose()
        draw, author = random.Random(5), Author(0, total)
        with path.open("wb") as out:
            for start in range(0, total, batch):
                made = []
                for number in range(start, start + batch):
                    record = author.record(number)
                    record["input"] = record["output"] = ""
                    room = size - len(_encode(record))
                    place = draw.randrange(len(text) - room)
                    record["input"] = text[place : place + room // 4]
                    record["output"] = text[place + room // 4 : place + room]
                    made.append(record)
                _put(out, request(_encode(made)))
    return path


def read_requests(path: Path) -> Iterator[bytes]:
    """What :func:`requests_file` wrote."""
    with path.open("rb") as source:
        while size := source.read(4):
            yield source.read(int.from_bytes(size, "big"))


def prose() -> str:
    """Real English: documentation strings that come with Python."""
    modules = (argparse, decimal, typing, asyncio.base_events, random, re)
    text = "\n".join(pydoc.plain(pydoc.render_doc(module)) for module in modules)
    return re.sub(r"[^\x20-\x7e]|\s+", " ", text)


def _chunks(total: int, batch: int) -> Iterator[tuple[int, int, int, int]]:
    for first in range(0, total, CHUNK):
        yield first, min(CHUNK, total - first), total, batch


def _chunk(first: int, count: int, total: int, batch: int) -> bytes:
    author = Author(first, total)
    parts: list[bytes] = []
    for start in range(first, first + count, batch):
        records = [author.record(number) for number in range(start, start + batch)]
        whole = request(_encode(records if batch > 1 else records[0]))
        parts += (len(whole).to_bytes(4, "big"), whole)
    return b"".join(parts)


def _put(out: typing.BinaryIO, whole: bytes) -> None:
    out.write(len(whole).to_bytes(4, "big") + whole)
