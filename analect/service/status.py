"""What an operator wants to see: counts, backlog, sizes, versions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analect.index.catalog import Indexes
from analect.index.embedded import IndexState
from analect.model.errors import AnalectError
from analect.model.ids import Clock, Micros, to_datetime
from analect.model.query import PageRequest, RecordFilter
from analect.settings import Settings
from analect.store.estimates import count_keys, count_records
from analect.store.migrate import schema_version
from analect.store.outbox import Depth
from analect.store.store import Store
from analect.telemetry.store import Backlog, StoreState


class Status:
    """Looks at the truth and its indexes."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        indexes: Indexes,
        states: Sequence[IndexState],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._indexes = indexes
        self._states = states
        self._clock = clock

    def __call__(self) -> dict[str, Any]:
        """As one JSON object; it holds no value of anyone's."""
        now = self._clock()
        depth = self._store.outbox.depth()
        newest = self._store.reads.list(RecordFilter(), PageRequest(limit=1)).items
        engine = self._store.engine
        return {
            "version": version("analect"),
            "store": {
                "database": engine.dialect.name,
                "schema": schema_version(engine),
                "records": count_records(self._store.engine),
                "newest": _time(newest[0].record.occurred_at) if newest else None,
                "bytes": self._store.size(),
            },
            "processors": {name: _backlog(one, now) for name, one in sorted(depth.items())},
            "indexes": {state.name: self._index(state) for state in self._states},
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
        for path in _files(folder):
            part = path.name.split(".")[0]
            sizes[part] = sizes.get(part, 0) + path.stat().st_size
        return StoreState(
            sizes=sizes,
            backlog={
                name: Backlog(one.entries, one.quarantined, _age(one.oldest, now))
                for name, one in self._store.outbox.depth().items()
            },
            records=count_records(self._store.engine),
            data_keys=count_keys(self._store.engine),
        )

    def _index(self, state: IndexState) -> dict[str, Any]:
        try:
            count: int | None = self._indexes.named(state.name).count()
        except AnalectError:
            count = None
        return {
            "records": count,
            "state": "ok" if state.usable else "rebuilding",
            **({"problem": state.problem, "rebuilt": state.rebuilt} if state.problem else {}),
        }


def _backlog(depth: Depth, now: Micros) -> dict[str, Any]:
    return {
        "entries": depth.entries,
        "oldest_seconds": _age(depth.oldest, now),
        "quarantined": depth.quarantined,
    }


def _age(since: Micros | None, now: Micros) -> float:
    return 0.0 if since is None else max(0.0, (now - since) / 1_000_000)


def _time(at: Micros) -> str:
    return to_datetime(at).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
