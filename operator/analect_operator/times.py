"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime

MICROS = 1_000_000


def rfc3339(micros: int) -> str:
    """``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(micros // MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(micros: int) -> str:
    """The same with microseconds."""
    return datetime.fromtimestamp(micros / MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def micros_of(text: str) -> int:
    """Either of them as microseconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp() * MICROS)
