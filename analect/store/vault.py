"""The vault's rows, and the log of who looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select

from analect.model.ids import Micros
from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import access_log, vault


@dataclass(frozen=True, slots=True)
class VaultEntry:
    """A token's value, sealed by one of the people it belongs to."""

    key_id: int
    sealed: bytes


class VaultRows:
    """The ``vault`` and ``access_log`` tables. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def entries(self, token: str) -> Sequence[VaultEntry]:
        """What is kept behind a token."""
        wanted = select(vault.c.key_id, vault.c.sealed).where(vault.c.token == token)
        with read_transaction(self._engine) as connection:
            return [VaultEntry(row.key_id, row.sealed) for row in connection.execute(wanted)]

    def log_access(self, actor: str, action: str, target: str, now: Micros) -> None:
        """Remember that ``actor`` looked; ``target`` is a pseudonym or a record's id."""
        row = {"at": now, "actor": actor, "action": action, "target": target}
        with write_transaction(self._engine) as connection:
            connection.execute(insert(access_log), row)
