"""Annotations: what processors concluded of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, delete, func, select

from analect.model.ids import Micros, RecordId
from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import metadata, records
from analect.store.upsert import insert_into

_TABLE = metadata.tables["annotations"]
_AT_ONCE = 500
"""Records in one statement."""


@dataclass(frozen=True, slots=True)
class StoredAnnotation:
    """One conclusion: a short ``value``, or a free ``text`` sealed by the data key ``key_id``."""

    record_id: RecordId
    processor: str
    name: str
    processor_version: int
    created_at: Micros
    value: str | None = None
    key_id: int | None = None
    text: bytes | None = None
    confidence: float | None = None


_FIELDS = tuple(StoredAnnotation.__dataclass_fields__)
_KEY = ("record_id", "processor", "name")


class Annotations:
    """The ``annotations`` table. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, given: Sequence[StoredAnnotation]) -> int:
        """Add them, each in place of an earlier one of the same record, processor and name.

        A record that is not there (any more) gets none.

        Returns:
            How many were kept.
        """
        if not given:
            return 0
        # The last of a repeated key stands, and one order for all: nobody waits in a circle.
        latest = {(one.record_id, one.processor, one.name): one for one in given}
        with write_transaction(self._engine) as connection:
            there = _hold(connection, sorted({one.record_id for one in given}))
            rows = [asdict(latest[key]) for key in sorted(latest) if key[0] in there]
            if rows:
                statement = insert_into(connection, _TABLE)
                replaced = {name: statement.excluded[name] for name in _FIELDS if name not in _KEY}
                upsert = statement.on_conflict_do_update(index_elements=_KEY, set_=replaced)
                connection.execute(upsert, rows)
            return len(rows)

    def get(self, ids: Sequence[RecordId]) -> dict[RecordId, list[StoredAnnotation]]:
        """For each of ``ids`` what was concluded, by processor and name."""
        found: dict[RecordId, list[StoredAnnotation]] = {record_id: [] for record_id in ids}
        columns = [_TABLE.c[name] for name in _FIELDS]
        order = [_TABLE.c[name] for name in _KEY]
        with read_transaction(self._engine) as connection:
            for chunk in _chunks(list(found)):
                statement = select(*columns).where(_TABLE.c.record_id.in_(chunk))
                for row in connection.execute(statement.order_by(*order)):
                    found[row.record_id].append(StoredAnnotation(*row))
        return found

    def counts(self, name: str | None = None) -> dict[tuple[str, str], int]:
        """How many records have each (name, value), of one name or of all."""
        keys = (_TABLE.c.name, _TABLE.c.value)
        statement = select(*keys, func.count(_TABLE.c.record_id.distinct())).where(
            _TABLE.c.value.is_not(None)
        )
        if name is not None:
            statement = statement.where(_TABLE.c.name == name)
        with read_transaction(self._engine) as connection:
            rows = connection.execute(statement.group_by(*keys))
            return {(row[0], row[1]): row[2] for row in rows}

    def delete(self, ids: Sequence[RecordId]) -> int:
        """Forget everything concluded of these records; how many annotations."""
        removed = 0
        with write_transaction(self._engine) as connection:
            for chunk in _chunks(sorted(set(ids))):
                statement = delete(_TABLE).where(_TABLE.c.record_id.in_(chunk))
                removed += connection.execute(statement).rowcount
        return removed


def _hold(connection: Connection, ids: list[RecordId]) -> set[RecordId]:
    """Those of ``ids`` that are stored, kept from deletion until the transaction ends."""
    there: set[RecordId] = set()
    for chunk in _chunks(ids):
        statement = select(records.c.id).where(records.c.id.in_(chunk))
        held = statement.with_for_update(read=True, key_share=True)
        there.update(connection.execute(held).scalars())
    return there


def _chunks(ids: list[RecordId]) -> list[list[RecordId]]:
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
