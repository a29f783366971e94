"""What an operator wants to see: counts, backlog, sizes, versions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analect.index.catalog import Indexes
from analect.lifecycle.backup.shipping import Shipping
from analect.model.errors import AnalectError
from analect.model.ids import Clock, Micros, to_datetime
from analect.model.query import PageRequest, RecordFilter
from analect.settings import Settings
from analect.store.entries import Depth
from analect.store.estimates import count_keys, count_records
from analect.store.migrate import schema_version
from analect.store.store import Store
from analect.store.tier_files import TierFiles
from analect.telemetry.patience import Patience
from analect.telemetry.store import Backlog, StoreState

PATIENCE_SECONDS = 2.0
"""The operator waits five for the whole status."""


@dataclass(frozen=True, slots=True)
class Health:
    """``reasons`` say, for people, why it is not ready."""

    ready: bool
    reasons: tuple[str, ...] = ()


class Status:
    """Looks at the truth and its indexes."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        indexes: Indexes,
        files: TierFiles,
        shipping: Shipping | None = None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._indexes = indexes
        self._shipping = shipping
        self._clock = clock
        self._patience: Patience[dict[str, Any]] = Patience(PATIENCE_SECONDS)

    def __call__(self) -> dict[str, Any]:
        """As one JSON object; it holds no value of anyone's."""
        now = self._clock()
        depth = self._store.outbox.depth()
        paused = self._store.pauses.paused()
        newest = self._store.reads.list(RecordFilter(), PageRequest(limit=1)).items
        engine = self._store.engine
        filed = self._files.totals()
        return {
            "version": version("analect"),
            "store": {
                "database": engine.dialect.name,
                "schema": schema_version(engine),
                "records": count_records(self._store.engine),
                "newest": _time(newest[0].record.occurred_at) if newest else None,
                "bytes": self._store.size(),
            },
            "tiers": {
                tier: dict(zip(("records", "bytes"), filed.get(tier, (0, 0)), strict=True))
                for tier in ("warm", "cold")
            },
            "processors": {
                name: {**_backlog(depth.get(name, Depth()), now), "paused": name in paused}
                for name in sorted({*depth, *paused})
            },
            "indexes": self._indexes_shown(),
            "quarantine": [
                {"processor": one.processor, "record": one.record_id, "code": one.code}
                for one in self._store.outbox.quarantined(20)
            ],
        }

    def look(self) -> StoreState:
        """The same for metrics, a little at a time."""
        now = self._clock()
        sizes = {"truth": self._store.size()}
        folder = self._settings.home / "index"
        for path, size in _files(folder):
            part = re.split(r"[.-]", path.name)[0]
            sizes[part] = sizes.get(part, 0) + size
        depth = self._store.outbox.depth()
        return StoreState(
            sizes=sizes,
            backlog={
                name: Backlog(one.entries, one.quarantined, _age(one.oldest, now))
                for name, one in depth.items()
            },
            paused=frozenset(self._store.pauses.paused()),
            records=count_records(self._store.engine),
            data_keys=count_keys(self._store.engine),
            indexed={
                name: shown["records"]
                for name, shown in self._indexes_shown().items()
                if "records" in shown
            },
            free=_free(self._settings.home),
            shipped_age=self._shipped_age(now),
        )

    def _shipped_age(self, now: Micros) -> float | None:
        """Seconds since everything was known to be in the place of the backups."""
        shipped_at = None if self._shipping is None else self._shipping.shipped_at
        return None if shipped_at is None else _age(shipped_at, now)

    def _indexes_shown(self) -> dict[str, dict[str, Any]]:
        """Each index, by name. A server that hangs is not waited for: who asks for the status, to
        learn of just that, may not wait long.
        """
        health = self._indexes.health
        names = [name for name, _ in self._indexes.present()]
        far = {name: partial(self._index, name) for name in names if health.is_elsewhere(name)}
        told = self._patience.ask(far)
        return {
            name: told.get(name, self._silent(name)) if name in far else self._index(name)
            for name in names
        }

    def _silent(self, name: str) -> dict[str, Any]:
        problem = f"its server said nothing within {self._patience.seconds:g} s"
        rebuilt = self._indexes.health.rebuilt(name)
        return {"state": "unavailable", "rebuilt": rebuilt, "problem": problem}

    def _index(self, name: str) -> dict[str, Any]:
        health = self._indexes.health
        shown: dict[str, Any] = {"state": "ok", "rebuilt": health.rebuilt(name)}
        try:
            with health.watching(name):
                shown["records"] = self._indexes.named(name).count()
        except AnalectError as error:
            shown |= {"state": "unavailable", "problem": str(error)}
        embedder = self._indexes.embedder
        if name == "vectors" and embedder is not None and embedder.problem is not None:
            shown |= {"state": "unavailable", "problem": embedder.problem}
        if (problem := health.problem(name)) is not None:
            shown |= {"state": "damaged", "problem": problem}
        return shown


def _backlog(depth: Depth, now: Micros) -> dict[str, Any]:
    return {
        "entries": depth.entries,
        "oldest_seconds": _age(depth.oldest, now),
        "quarantined": depth.quarantined,
        "code": depth.code,
    }


def _age(since: Micros | None, now: Micros) -> float:
    return 0.0 if since is None else max(0.0, (now - since) / 1_000_000)


def _time(at: Micros) -> str:
    return to_datetime(at).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file and its bytes; one that is switched away meanwhile is left out."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.stat().st_size


def _free(folder: Path) -> int | None:
    """Bytes that the folder's disk has left; None while there is no folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
