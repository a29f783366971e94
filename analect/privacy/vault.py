"""What the vault keeps: the value behind a token, sealed by the key of whoever it belongs to."""

from __future__ import annotations

from analect.privacy.keys import DataKey
from analect.privacy.seal import Sealer, vault_binding


def vault_row(sealer: Sealer, key: DataKey, token: str, value: str) -> tuple[str, int, bytes]:
    """(token, key id, sealed value), as it goes into the vault's table."""
    return token, key.key_id, sealer.seal_bytes(key, vault_binding(token), value.encode())


def open_vault_row(sealer: Sealer, key: DataKey, token: str, sealed: bytes) -> str:
    """The value.

    Raises:
        KeyDestroyed: another key sealed it.
        Corrupt: it does not verify as this token's.
    """
    return sealer.open_bytes(key, vault_binding(token), sealed).decode()
