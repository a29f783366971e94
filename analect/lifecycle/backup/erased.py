"""What was erased, told by the key ring: so that a backup from before does not bring it back.

Keys decide about everything that is sealed. Rows without a payload, and columns beside one, have no
key: the ring keeps a list of whom was erased (pseudonyms and record ids, nothing else), and it
goes wherever a copy of the ring goes.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog
from sqlalchemy import Engine

from analect.model.errors import Corrupt, StoreUnavailable
from analect.model.ids import Micros
from analect.privacy.keyring import KeyRing
from analect.privacy.shards import ERASED
from analect.store.erasure import PENDING, ErasureRows, Receipt, one_eraser

log = structlog.get_logger(__name__)

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Erased:
    """One erasure: a receipt's id, scope, target and time."""

    id: str
    scope: str
    target: str
    at: Micros


@dataclass(frozen=True, slots=True)
class _Signed:
    items: tuple[Erased, ...]
    mac: str


class ErasedList:
    """The list in one ring."""

    def __init__(self, ring: KeyRing, pseudonym_key: bytes) -> None:
        self._ring = ring
        self._key = hmac.new(pseudonym_key, b"erased", "sha256").digest()

    def all(self) -> tuple[Erased, ...]:
        """Every erasure.

        Raises:
            Corrupt: the list was changed by somebody else.
        """
        return self._parse(self._ring.read(ERASED))

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Note erasures; what is noted already stays as it is.

        Raises:
            StoreUnavailable: others keep changing the list.
        """
        for _ in range(_ATTEMPTS):
            old = self._ring.read(ERASED)
            there = self._parse(old)
            known = {one.id for one in there}
            fresh = [
                Erased(one.id, one.scope, one.target, one.created_at)
                for one in receipts
                if one.id not in known
            ]
            if not fresh:
                return
            items = (*there, *fresh)
            data = msgspec.json.encode(_Signed(items, self._mac(items)))
            if (
                self._ring.put(ERASED, data)
                if old is None
                else self._ring.replace(ERASED, old, data)
            ):
                return
        raise StoreUnavailable("the key ring's list of erasures keeps changing; try again")

    def _parse(self, data: bytes | None) -> tuple[Erased, ...]:
        if data is None:
            return ()
        try:
            found = msgspec.json.decode(data, type=_Signed)
        except msgspec.DecodeError as error:
            raise self._changed() from error
        if not hmac.compare_digest(found.mac, self._mac(found.items)):
            raise self._changed()
        return found.items

    def _changed(self) -> Corrupt:
        return Corrupt(
            f"the list of erasures in the key ring {self._ring.place} does not verify: restore a "
            "copy of the ring"
        )

    def _mac(self, items: Sequence[Erased]) -> str:
        return hmac.new(self._key, msgspec.json.encode(list(items)), "sha256").hexdigest()


def open_missing(engine: Engine, erased: Sequence[Erased]) -> int:
    """Where an older copy of the database was put back: open the receipts it lacks again, for the
    eraser to settle; how many.
    """
    rows = ErasureRows(engine)
    with one_eraser(engine):
        known = {receipt.id for receipt in rows.receipts()}
        missing = [
            Receipt(one.id, one.scope, one.target, PENDING, {}, (), one.at)
            for one in erased
            if one.id not in known
        ]
        if missing:
            rows.open_receipts(missing)
            log.warning("an older database learns of erasures from the ring", count=len(missing))
    return len(missing)
