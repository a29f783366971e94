"""Legal holds that were laid by hand, and the lock that lets one win over a removal.

Who removes takes the lock shared, looks at the holds and removes in one transaction; who lays a
hold takes it alone. So a hold stands before the removal looks, or waits until it has committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Engine, delete, insert, select

from analect.model.errors import Conflict, NotFound
from analect.model.ids import Micros
from analect.store.choosing import Choice
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.tables import legal_holds

_LOCK = 0x616E616C0004


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold; its selector's values are in their stored form."""

    name: str
    selector: Choice
    created_at: Micros = 0


class Holds:
    """The table of holds. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> list[Hold]:
        """Those that stand, by name."""
        with read_transaction(self._engine) as connection:
            return _read(connection)

    def lay(self, hold: Hold) -> None:
        """From when this returns nothing that it selects is removed.

        Raises:
            Conflict: there is one of this name.
        """
        with write_transaction(self._engine) as connection:
            _lock(connection, shared=False)
            there = select(legal_holds.c.name).where(legal_holds.c.name == hold.name)
            if connection.execute(there).first() is not None:
                raise Conflict(f"there is a legal hold {hold.name} already", field="name")
            row = {
                "name": hold.name,
                "selector": msgspec.json.encode(hold.selector).decode(),
                "created_at": hold.created_at,
            }
            connection.execute(insert(legal_holds).values(row))

    def release(self, name: str) -> None:
        """Let retention go on.

        Raises:
            NotFound: there is none of this name.
        """
        with write_transaction(self._engine) as connection:
            _lock(connection, shared=False)
            gone = connection.execute(delete(legal_holds).where(legal_holds.c.name == name))
            if not gone.rowcount:
                raise NotFound(f"there is no legal hold {name}", field="name")


def standing_holds(connection: Connection) -> Sequence[Hold]:
    """Those that stand; none is laid until the transaction of ``connection``, which removes, ends."""
    _lock(connection, shared=True)
    return _read(connection)


def _lock(connection: Connection, *, shared: bool) -> None:
    # On SQLite a write transaction is alone anyway.
    if is_postgres(connection):
        kind = "_shared" if shared else ""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{kind}({_LOCK})")


def _read(connection: Connection) -> list[Hold]:
    rows = connection.execute(select(legal_holds).order_by(legal_holds.c.name))
    return [Hold(row.name, _choice(row.selector), row.created_at) for row in rows]


def _choice(text: str) -> Choice:
    return msgspec.json.decode(text, type=Choice)
