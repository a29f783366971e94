"""The records that the demonstration sends: conversations, incidents, tasks, calls, evaluations.

Everything is written for the demonstration; the personal data in it is invented and listed in
``data/planted.json``, so that the proof knows what to look for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
_PLACE = re.compile(r"\{(\w+)\}")
_ROLES = {"u": "user", "a": "assistant"}
_PRICE = 0.000_002
"""Invented price of a token."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """``planted`` maps a name to a value of personal data that must never reach the disk."""

    records: list[dict[str, Any]]
    planted: dict[str, str]


def load(now: datetime) -> Dataset:
    """The records, spread over the ten days before ``now``; the same every time."""
    listed = json.loads((DATA / "planted.json").read_text("utf-8"))
    planted = {name: "".join(parts) for name, parts in listed.items() if name != "_"}
    start = now.astimezone(UTC) - timedelta(days=10)
    records: list[dict[str, Any]] = []
    for number, block in enumerate(_blocks("conversations.txt")):
        records.extend(_conversation(block, start + timedelta(hours=4 * number), planted))
    for number, line in enumerate(_lines("incidents.txt")):
        records.append(_incident(line, start + timedelta(hours=6 * number, minutes=20), planted))
    for number, line in enumerate(_lines("tasks.txt")):
        records.append(_task(line, start + timedelta(hours=9 * number, minutes=40), planted))
    return Dataset(records, planted)


def _lines(name: str) -> Iterator[str]:
    for line in (DATA / name).read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _blocks(name: str) -> Iterator[list[str]]:
    """A header line and the turns that follow it."""
    block: list[str] = []
    for line in _lines(name):
        if line[:2] not in {"u:", "a:"} and block:
            yield block
            block = []
        block.append(line)
    yield block


def _filled(text: str, planted: dict[str, str]) -> str:
    return _PLACE.sub(lambda found: planted[found[1]], text)


def _split(line: str, planted: dict[str, str]) -> list[str]:
    return [_filled(part.strip(), planted) for part in line.split(" | ")]


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _conversation(
    block: list[str], start: datetime, planted: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """A message a turn, a model call behind the first answer, an evaluation of the last."""
    thread, language, service, subject, tags = _split(block[0], planted)
    shared = {
        "thread_id": thread,
        "session_id": f"session-{thread}",
        "subject": subject,
        "service": service,
        "project": "demo",
        "environment": "production",
        "dimensions": {"language": language, "channel": "chat"},
        "source": "demo",
    }
    for turn, line in enumerate(block[1:], 1):
        text = _filled(line[3:], planted)
        at = start + timedelta(seconds=37 * turn)
        yield {
            **shared,
            "id": f"{thread}-{turn}",
            "kind": "message",
            "occurred_at": _time(at),
            "turn": turn,
            "role": _ROLES[line[0]],
            "tags": [*tags.split(","), language],
            ("input" if line[0] == "u" else "output"): text,
        }
        if turn == 2:
            yield {**shared, **_call(thread, at, text)}
    yield {
        **shared,
        "id": f"{thread}-rating",
        "kind": "evaluation",
        "occurred_at": _time(start + timedelta(minutes=30)),
        "name": "conversation-quality",
        "rating": 3 + len(block) % 3,
        "measures": {"score": round(0.6 + len(block) % 5 / 12, 3)},
    }


def _call(thread: str, at: datetime, answer: str) -> dict[str, Any]:
    tokens_in, tokens_out = 180 + len(thread) * 7, max(8, len(answer) // 4)
    return {
        "id": f"{thread}-call",
        "kind": "llm_call",
        "occurred_at": _time(at - timedelta(seconds=2)),
        "name": "answer",
        "model": "medium-chat",
        "status": "ok",
        "success": True,
        "duration_ms": 600.0 + 3 * tokens_out,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cost": round((tokens_in + 4 * tokens_out) * _PRICE, 6),
        "output": answer,
    }


def _incident(line: str, at: datetime, planted: dict[str, str]) -> dict[str, Any]:
    title, service, severity, what, cause, done, tags = _split(line, planted)
    return {
        "id": f"incident-{title.lower().replace(' ', '-')}",
        "kind": "incident",
        "occurred_at": _time(at),
        "name": title,
        "service": service,
        "status": "resolved",
        "process_id": f"incident-response-{at:%Y%m%d}",
        "project": "demo",
        "source": "demo",
        "tags": ["incident", *tags.split(",")],
        "dimensions": {"severity": severity, "language": "en"},
        "input": {"what_happened": what},
        "output": {"cause": cause, "what_was_done": done},
    }


def _task(line: str, at: datetime, planted: dict[str, str]) -> dict[str, Any]:
    name, service, model, description, response, tags = _split(line, planted)
    return {
        "id": f"task-{name}",
        "kind": "task",
        "occurred_at": _time(at),
        "name": name,
        "service": service,
        "model": model,
        "success": True,
        "duration_ms": 900.0 + 11 * len(response),
        "input_tokens": 40 + len(description),
        "output_tokens": len(response) // 4,
        "confidence": 0.9,
        "project": "demo",
        "source": "demo",
        "tags": ["task", *tags.split(",")],
        "input": description,
        "output": response,
    }
