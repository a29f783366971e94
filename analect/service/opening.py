"""The way out: stored records with their payloads opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analect.model.errors import KeyDestroyed
from analect.model.record import Record, with_payload
from analect.privacy.keys import DataKeys
from analect.privacy.seal import Sealer
from analect.store.rows import StoredRecord


class Opener:
    """Opens payloads with the keys that still exist."""

    def __init__(self, keys: DataKeys, sealer: Sealer) -> None:
        self._keys = keys
        self._sealer = sealer

    def open(self, stored: Sequence[StoredRecord]) -> list[Record]:
        """The records in the same order; ``payload_state`` is ``erased`` where the key is gone.

        Raises:
            Corrupt: a payload does not verify; the message names the record.
        """
        keys = self._keys.by_ids(list({s.key_id for s in stored if s.key_id is not None}))
        opened = []
        for one in stored:
            if not one.payload:
                opened.append(one.record)
                continue
            try:
                payload = self._sealer.open(one.payload, one.record.id, keys)
            except KeyDestroyed:
                opened.append(replace(one.record, payload_state="erased"))
                continue
            opened.append(with_payload(one.record, payload))
        return opened
