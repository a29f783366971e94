"""Where copies of the key ring are that go with backups: an erasure must reach each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Engine, select

from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import meta
from analect.store.upsert import insert_into

_NAME = "backup_rings"


class BackupPlaces:
    """A list in the ``meta`` table. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> Sequence[str]:
        """Folders that hold a copy of the ring."""
        with read_transaction(self._engine) as connection:
            return _read(connection)

    def add(self, place: str) -> None:
        """Remember a folder."""
        self._change(lambda places: sorted({*places, place}))

    def remove(self, place: str) -> None:
        """Forget a folder: its copy is gone, or is no more this store's business."""
        self._change(lambda places: [one for one in places if one != place])

    def _change(self, change: Callable[[Sequence[str]], Sequence[str]]) -> None:
        with write_transaction(self._engine) as connection:
            value = json.dumps(list(change(_read(connection))))
            row = insert_into(connection, meta).values(name=_NAME, value=value)
            connection.execute(
                row.on_conflict_do_update(index_elements=["name"], set_={"value": value})
            )


def _read(connection: Connection) -> Sequence[str]:
    found = connection.execute(select(meta.c.value).where(meta.c.name == _NAME)).scalar()
    places: list[str] = json.loads(found) if found else []
    return places
