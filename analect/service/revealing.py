"""Looking behind a pseudonym, for those who may; every look is logged before it is answered."""

from __future__ import annotations

from analect.model.errors import InvalidInput, NotFound
from analect.model.ids import Clock
from analect.privacy.keys import DataKeys
from analect.privacy.seal import Sealer
from analect.privacy.tokens import is_token
from analect.privacy.vault import open_vault_row
from analect.store.vault import VaultRows


class Revealer:
    """Opens the vault."""

    def __init__(self, rows: VaultRows, keys: DataKeys, sealer: Sealer, clock: Clock) -> None:
        self._rows = rows
        self._keys = keys
        self._sealer = sealer
        self._clock = clock

    def reveal(self, token: str, actor: str) -> str:
        """The value behind ``token``.

        Raises:
            InvalidInput: it has not the form of a token, or nobody is named who looks.
            NotFound: the vault does not keep it, or everyone it belonged to was erased.
        """
        if not is_token(token):
            raise InvalidInput("a token looks like <email:0123456789abcdef>", field="token")
        if not actor:
            raise InvalidInput("say who looks", field="actor")
        self._rows.log_access(actor, "reveal", token, self._clock())
        entries = self._rows.entries(token)
        keys = self._keys.by_ids([entry.key_id for entry in entries])
        for entry in entries:
            key = keys.get(entry.key_id)
            if key is not None:
                return open_vault_row(self._sealer, key, token, entry.sealed)
        raise NotFound(
            "the vault does not keep this token (setting privacy.vault), or it was erased",
            field="token",
        )
