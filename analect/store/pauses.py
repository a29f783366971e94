"""Processors that rest until someone says otherwise: kept in the truth, so that every process obeys.

What claims work asks in the same statement, so a pause holds from the moment it is committed.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Engine, delete, exists, not_, select

from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import meta
from analect.store.upsert import insert_into

_PREFIX = "paused."


class Pauses:
    """Which processors rest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pause(self, processor: str) -> None:
        """Nothing of this processor is begun any more; what is under way is finished.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with write_transaction(self._engine) as connection:
            row = {"name": _PREFIX + processor, "value": "1"}
            connection.execute(insert_into(connection, meta).values(row).on_conflict_do_nothing())

    def resume(self, processor: str) -> None:
        """It goes on."""
        with write_transaction(self._engine) as connection:
            connection.execute(delete(meta).where(meta.c.name == _PREFIX + processor))

    def paused(self) -> set[str]:
        """Those that rest."""
        wanted = select(meta.c.name).where(meta.c.name.startswith(_PREFIX, autoescape=True))
        with read_transaction(self._engine) as connection:
            return {name.removeprefix(_PREFIX) for name in connection.execute(wanted).scalars()}


def awake(processor: str) -> ColumnElement[bool]:
    """A condition of a statement: this processor does not rest."""
    return not_(exists(select(meta.c.name).where(meta.c.name == _PREFIX + processor)))
