"""Looking behind a pseudonym, for those who may; every look is logged before it is answered."""

from __future__ import annotations

from analect.model.errors import InvalidInput, NotFound
from analect.model.flat import format_time
from analect.model.ids import Clock
from analect.model.query import RecordFilter
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

    def exporting(self, where: RecordFilter, actor: str) -> None:
        """Write down that ``actor`` opens what passes: the person's token if it is about one, else
        by which fields and times it was chosen, without their values.

        Raises:
            InvalidInput: nobody is named.
        """
        if not actor:
            raise InvalidInput("say who exports", field="actor")
        times = (("from", where.since), ("to", where.until))
        told = [
            *([f"tier={where.tier}"] if where.tier else []),
            *(f"{name}={format_time(at)}" for name, at in times if at is not None),
            *sorted({*where.equals, *where.dimensions, *where.numbers} - {"subject"}),
        ]
        target = where.equals.get("subject") or " ".join(told) or "all"
        self._rows.log_access(actor, "export", target, self._clock())
