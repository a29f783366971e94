"""The vault's table, and the log of who looked into it."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select

from analect.model.ids import Clock
from analect.privacy.keys import DataKeys
from analect.privacy.seal import Sealer
from analect.privacy.vault import open_vault_row
from analect.store.engine import write_transaction
from analect.store.tables import access_log, vault

REVEAL = "reveal"


class Vault:
    """Gives back what a token stands for, where the store keeps it. Thread-safe."""

    def __init__(self, engine: Engine, keys: DataKeys, sealer: Sealer, *, clock: Clock) -> None:
        self._engine = engine
        self._keys = keys
        self._sealer = sealer
        self._clock = clock

    def reveal(self, token: str, *, actor: str) -> str | None:
        """The value, or None when the vault has none (any more).

        The look is in the access log before the value is out, found or not.

        Raises:
            StoreUnavailable: it could not be logged; nothing is revealed.
        """
        entry = {"at": self._clock(), "actor": actor, "action": REVEAL, "target": token}
        with write_transaction(self._engine) as connection:
            connection.execute(insert(access_log).values(entry))
            wanted = select(vault.c.key_id, vault.c.sealed).where(vault.c.token == token)
            rows = {row.key_id: bytes(row.sealed) for row in connection.execute(wanted)}
        for key_id, key in self._keys.by_ids(list(rows)).items():
            return open_vault_row(self._sealer, key, token, rows[key_id])
        return None
