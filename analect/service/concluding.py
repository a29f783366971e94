"""What processors concluded: short values plain, free text sealed by the record's own key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analect.model.ids import Clock, RecordId
from analect.model.query import Annotation
from analect.privacy.keys import DataKeys
from analect.privacy.seal import Sealer, annotation_binding
from analect.store.annotations import StoredAnnotation
from analect.store.store import Store


class Conclusions:
    """Keeps annotations and gives them back."""

    def __init__(self, *, store: Store, keys: DataKeys, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._sealer = sealer
        self._clock = clock

    def keep(self, found: Sequence[Annotation]) -> int:
        """Store annotations, each in place of an earlier one of the same record, processor and
        name; how many. Free text goes with its record: none is kept where the record has no
        payload key (any more).
        """
        with_text = [one.record_id for one in found if one.text is not None]
        key_of = {s.record.id: s.key_id for s in self._store.reads.get(with_text)}
        keys = self._keys.by_ids([key_id for key_id in key_of.values() if key_id is not None])
        now = self._clock()
        rows = []
        for one in found:
            key = keys.get(key_of.get(one.record_id) or 0) if one.text is not None else None
            sealed = None
            if key is not None and one.text is not None:
                sealed = self._sealer.seal_bytes(key, _binding(one), one.text.encode())
            rows.append(
                StoredAnnotation(
                    record_id=one.record_id,
                    processor=one.processor,
                    name=one.name,
                    processor_version=one.processor_version,
                    created_at=now,
                    value=one.value,
                    key_id=key.key_id if key is not None else None,
                    text=sealed,
                    confidence=one.confidence,
                )
            )
        return self._store.annotations.put(rows)

    def of(self, record_ids: Sequence[RecordId]) -> dict[RecordId, Sequence[Annotation]]:
        """What was concluded of these records, opened."""
        stored = self._store.annotations.get(record_ids)
        wanted = {one.key_id for some in stored.values() for one in some if one.key_id is not None}
        keys = self._keys.by_ids(list(wanted))
        found: dict[RecordId, Sequence[Annotation]] = {}
        for record_id, some in stored.items():
            mine = []
            for one in some:
                opened = Annotation(
                    record_id=record_id,
                    processor=one.processor,
                    processor_version=one.processor_version,
                    name=one.name,
                    value=one.value,
                    confidence=one.confidence,
                )
                key = keys.get(one.key_id or 0)
                if one.text is not None and key is not None:
                    plain = self._sealer.open_bytes(key, _binding(opened), one.text)
                    opened = replace(opened, text=plain.decode())
                mine.append(opened)
            found[record_id] = mine
        return found


def _binding(one: Annotation) -> bytes:
    return annotation_binding(one.record_id, one.processor, one.name)
