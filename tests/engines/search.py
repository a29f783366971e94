"""Indexes in an OpenSearch, for tests."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry

from analect.index.breaker import Breaker
from analect.index.opensearch import OpenSearch, OpenSearchTextIndex, OpenSearchVectorIndex
from analect.index.opensearch.engine import Refused
from analect.model.errors import EngineUnavailable
from analect.settings import Search
from analect.telemetry.engines import EngineMetrics


def wall_clock() -> int:
    return time.time_ns() // 1000


def fresh_settings(url: str, **changes: object) -> Search:
    """Indices of their own for each test."""
    return Search(**{"url": url, "prefix": f"t-{uuid.uuid4().hex[:8]}", **changes})


def connect(settings: Search, *, failures: int = 1000) -> OpenSearch:
    metrics = EngineMetrics(CollectorRegistry())
    return OpenSearch(settings, Breaker("opensearch", metrics, failures=failures, rest_seconds=0.2))


def text_index(settings: Search, **changes: Any) -> OpenSearchTextIndex:
    return OpenSearchTextIndex(connect(settings), wall_clock, **changes)


def vector_index(settings: Search, **changes: Any) -> OpenSearchVectorIndex:
    return OpenSearchVectorIndex(connect(settings), wall_clock, **changes)


class AtOnce:
    """An index whose writes are found when they return. Its purge does not wait for OpenSearch,
    which takes half a minute: one test of its own does.
    """

    def __init__(self, index: Any, settings: Search) -> None:
        self._index = index
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def upsert(self, documents: Any) -> Any:
        failures = self._index.upsert(documents)
        refresh(self._settings)
        return failures

    def delete(self, ids: Any) -> None:
        self._index.delete(ids)
        refresh(self._settings)

    def purge(self) -> None:
        with suppress(EngineUnavailable):
            self._index.purge()


def refresh(settings: Search) -> None:
    """Until everything that was written is found."""
    engine = connect(settings)
    engine.request("POST", f"/{settings.prefix}-*/_refresh")
    engine.close()


def drop(settings: Search) -> None:
    """Remove everything of a test."""
    engine = connect(settings)
    for name in engine.request("GET", f"/{settings.prefix}-*/_alias", expand_wildcards="all"):
        engine.request("DELETE", f"/{name}")
    with suppress(Refused):  # there may be none
        engine.request("DELETE", f"/_index_template/{settings.prefix}-*")
    engine.close()
