"""Which backups refer to files of the tiers instead of having copies: their files stay for them.

A file that was taken out of the tiers is kept for the backups that were made while it stood. Both
lists are short: backups by reference, and files that wait for one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import msgspec
from sqlalchemy import Connection, Engine, select

from analect.model.ids import Micros
from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import meta
from analect.store.tier_files import TierFile
from analect.store.upsert import insert_into

_NAME = "backup_references"
_SLACK: Micros = 3_600 * 1_000_000
"""Clocks of the machines that write files and backups may differ by so much."""


@dataclass(slots=True)
class _Noted:
    """By place of backups, by backup, when it last looked; by file the backups that it waits for."""

    backups: dict[str, dict[str, Micros]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)


class BackupReferences:
    """A row of the ``meta`` table. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, place: str, backup: str, at: Micros) -> None:
        """A backup refers to the files that stand now. To be called before it looks at them."""
        with write_transaction(self._engine) as connection:
            noted = _read(connection)
            noted.backups.setdefault(place, {})[backup] = at
            _write(connection, noted)

    def keep(self, place: str, backups: Collection[str]) -> None:
        """A place has only these backups left."""
        with write_transaction(self._engine) as connection:
            noted = _read(connection)
            there = noted.backups.pop(place, {})
            if left := {backup: at for backup, at in there.items() if backup in backups}:
                noted.backups[place] = left
            _write(connection, noted)

    def waiting(self, retired: Sequence[TierFile]) -> Mapping[str, Sequence[str]]:
        """Which of the files that were taken out of the tiers backups refer to, and which those
        are. What is asked for the first time is noted: it stood until now.
        """
        with read_transaction(self._engine) as connection:
            noted = _read(connection)
        if not noted.backups and not noted.files:
            return {}
        with write_transaction(self._engine) as connection:
            noted = _read(connection)
            there = {backup: at for some in noted.backups.values() for backup, at in some.items()}
            found = {}
            for file in retired:
                since = noted.files.get(file.name)
                if since is None:
                    since = [b for b, at in there.items() if at + _SLACK >= file.written_at]
                found[file.name] = sorted(one for one in since if one in there)
            noted.files = {name: backups for name, backups in found.items() if backups}
            _write(connection, noted)
            return noted.files


def _read(connection: Connection) -> _Noted:
    found = connection.execute(select(meta.c.value).where(meta.c.name == _NAME)).scalar()
    return msgspec.json.decode(found, type=_Noted) if found else _Noted()


def _write(connection: Connection, noted: _Noted) -> None:
    value = msgspec.json.encode(asdict(noted)).decode()
    row = insert_into(connection, meta).values(name=_NAME, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
