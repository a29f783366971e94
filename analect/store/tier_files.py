"""The files of the warm and cold tiers, as SQL knows them.

A file is published in one transaction with the retirement of those it takes the place of, so
readers see each record once. ``removing``: its rows are still hot as well, and are being removed
there; a reader takes the hot one. ``retired``: the object itself is to be deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from analect.model.ids import Micros, RecordId
from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import tier_files

REMOVING, LIVE, RETIRED = "removing", "live", "retired"

_COLUMNS = [column for column in tier_files.c if column.name != "locator"]


@dataclass(frozen=True, slots=True)
class TierFile:
    """One file. ``name`` is its path below the place of the tiers; ``first_id`` and ``last_id``
    bound what it holds, ``indexed`` says whether the indexes keep its records.
    """

    name: str
    tier: str
    kind: str
    month: str
    state: str
    rows: int
    bytes: int
    sha256: str
    first_id: RecordId
    last_id: RecordId
    indexed: bool
    written_at: Micros


class TierFiles:
    """The catalogue. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def standing(self, tier: str | None = None, **equals: str) -> list[TierFile]:
        """Files that hold records now, by month, kind and name."""
        with read_transaction(self._engine) as connection:
            return standing_files(connection, tier, **equals)

    def in_state(self, state: str) -> list[TierFile]:
        """Files in one state."""
        wanted = select(*_COLUMNS).where(tier_files.c.state == state)
        with read_transaction(self._engine) as connection:
            return [_file(row) for row in connection.execute(wanted)]

    def any(self) -> bool:
        """Whether there is one that holds records."""
        wanted = select(tier_files.c.name).where(tier_files.c.state != RETIRED).limit(1)
        with read_transaction(self._engine) as connection:
            return connection.execute(wanted).first() is not None

    def names(self) -> set[str]:
        """Every file that is known, in whatever state."""
        with read_transaction(self._engine) as connection:
            return set(connection.execute(select(tier_files.c.name)).scalars())

    def totals(self) -> dict[str, tuple[int, int]]:
        """By tier how many records and bytes stand."""
        wanted = (
            select(tier_files.c.tier, func.sum(tier_files.c.rows), func.sum(tier_files.c.bytes))
            .where(tier_files.c.state != RETIRED)
            .group_by(tier_files.c.tier)
        )
        with read_transaction(self._engine) as connection:
            rows = connection.execute(wanted).fetchall()
        return {tier: (int(count), int(size)) for tier, count, size in rows}

    def locator(self, name: str) -> bytes | None:
        """A file's locator; None when the file is not known any more."""
        wanted = select(tier_files.c.locator).where(tier_files.c.name == name)
        with read_transaction(self._engine) as connection:
            found = connection.execute(wanted).scalar()
        return None if found is None else bytes(found)

    def set_live(self, name: str) -> None:
        """Its rows are nowhere else any more."""
        with write_transaction(self._engine) as connection:
            change = update(tier_files).where(
                tier_files.c.name == name, tier_files.c.state == REMOVING
            )
            connection.execute(change.values(state=LIVE))

    def forget(self, names: Sequence[str]) -> None:
        """The objects of retired files are deleted."""
        with write_transaction(self._engine) as connection:
            mine = tier_files.c.name.in_(names), tier_files.c.state == RETIRED
            connection.execute(delete(tier_files).where(*mine))


def standing_files(
    connection: Connection, tier: str | None = None, **equals: str
) -> list[TierFile]:
    """Files that hold records now, by month, kind and name."""
    wanted = select(*_COLUMNS).where(tier_files.c.state != RETIRED)
    if tier is not None:
        wanted = wanted.where(tier_files.c.tier == tier)
    for name, value in equals.items():
        wanted = wanted.where(tier_files.c[name] == value)
    order = (tier_files.c.month, tier_files.c.kind, tier_files.c.name)
    return [_file(row) for row in connection.execute(wanted.order_by(*order))]


def publish(
    connection: Connection, files: Sequence[tuple[TierFile, bytes]], retired: Sequence[str]
) -> bool:
    """Let new files, each with its locator, stand for those of ``retired``; false (and nothing
    done) when one of these does not stand any more.
    """
    standing = tier_files.c.state != RETIRED
    if retired:
        gone = update(tier_files).where(tier_files.c.name.in_(retired), standing)
        if connection.execute(gone.values(state=RETIRED)).rowcount != len(retired):
            return False
    rows = [{**_values(file), "locator": locator} for file, locator in files]
    if rows:
        connection.execute(insert(tier_files), rows)
    return True


def manifest_name(name: str) -> str:
    """Of the manifest beside a file; what reads folders of Parquet skips names that begin so."""
    folder, _, end = name.rpartition("/")
    return f"{folder}/_{end}.manifest.json"


def kind_of(name: str) -> str:
    """The kind of the records of a file, which its name says."""
    return name.split("/")[1].removeprefix("kind=")


def month_of_file(name: str) -> str:
    """The month (``YYYY-MM``) of the records of a file, which its name says."""
    return name.split("/")[2].removeprefix("month=")


def _values(file: TierFile) -> dict[str, Any]:
    return {column.name: getattr(file, column.name) for column in _COLUMNS}


def _file(row: Any) -> TierFile:
    return TierFile(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
