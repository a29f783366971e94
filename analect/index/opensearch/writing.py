"""Putting records into an index and taking them out, in any order and by any number of processes.

OpenSearch keeps the version of a document that is highest. A record's is the time it was received,
so that writing it again changes nothing for the worse. A deletion leaves a tombstone, empty but for
id and time, with the version of the moment or one above what is there: whatever was under way with
the record before, in a worker that slept or a queue that was late, finds a higher version and has
no effect. Tombstones go after a day.

While a fresh generation is being filled, every write goes there too, and what the filling brings
is only put where nothing is yet: neither a newer version nor a tombstone is overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from analect.index.opensearch.engine import BLOCKED, Refused, kind_of, read_only
from analect.index.opensearch.family import Family
from analect.index.opensearch.mapping import DELETED
from analect.index.protocols import ItemFailure
from analect.model.errors import (
    ConfigurationError,
    EngineBusy,
    EngineReadOnly,
    EngineUnavailable,
)
from analect.model.ids import Micros, RecordId

BULK_BYTES = 8 * 1024 * 1024
"""Of a request, about."""
MOST_BYTES = 90 * 1024 * 1024
"""Of one record; OpenSearch takes no request of more than 100 MiB."""
TOO_LARGE = "too_large"
_BUSY_PAUSES = (0.1, 0.3, 1.0)
_TOMBSTONE_ATTEMPTS = 5
_FOUND = "items.*.status,items.*.error.type"
_GONE = {"index_not_found_exception", "index_closed_exception"}

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Item:
    """A document to put: ``source`` is JSON."""

    id: RecordId
    version: Micros
    source: bytes


@dataclass(frozen=True, slots=True)
class _Action:
    """One line, or two, of a bulk request."""

    id: RecordId
    index: str
    head: bytes
    source: bytes

    @property
    def size(self) -> int:
        return len(self.head) + len(self.source) + 2


def item(record_id: RecordId, received_at: Micros, values: dict[str, Any]) -> Item:
    """The document of a record."""
    try:
        source = _encode(values)
    except UnicodeEncodeError:  # half of a surrogate pair, which no JSON carries
        source = _encode(_without_surrogates(values))
    return Item(record_id, max(1, received_at), source)


class Writer:
    """Writes to the generations there are, or to the one that is being filled.

    Args:
        family: whose indices.
        filling: the generation to fill; nothing that is there already is overwritten.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        family: Family,
        *,
        filling: int | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._family = family
        self._filling = filling
        self._pause = pause

    def put(self, items: Sequence[Item]) -> list[ItemFailure]:
        """Add or replace; what was refused.

        Raises:
            EngineUnavailable: OpenSearch does not take anything now.
            ConfigurationError: the index must be rebuilt.
        """
        good = [one for one in items if len(one.source) <= MOST_BYTES]
        failures = {
            one.id: ItemFailure(one.id, TOO_LARGE, transient=False)
            for one in items
            if len(one.source) > MOST_BYTES
        }
        actions = [self._action(generation, one) for generation in self._targets() for one in good]
        for action, status, kind in self._send(actions):
            if status != 409:  # a newer version is there, or a tombstone
                failures[action.id] = _failure(action.id, status, kind)
        return list(failures.values())

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Leave tombstones.

        Raises:
            EngineUnavailable: not all of them could be left.
        """
        now = self._family.clock()
        targets = self._targets()
        tombstones = [
            self._action(generation, _tombstone(record_id, now, now))
            for generation in targets
            for record_id in dict.fromkeys(ids)
        ]
        for _ in range(_TOMBSTONE_ATTEMPTS):
            refused = list(self._send(tombstones))
            if any(kind == BLOCKED for _, _, kind in refused):
                raise read_only(self._family.engine.settings)
            if any(status != 409 for _, status, _ in refused):
                raise EngineUnavailable("OpenSearch did not delete every record")
            if not refused:
                return
            # Written by a process whose clock is ahead, or just now: this deletion comes later.
            there = self._versions([action for action, _, _ in refused])
            tombstones = [
                _indexing(
                    action.index, _tombstone(action.id, now, there[action.index, action.id] + 1)
                )
                for action, _, _ in refused
            ]
        raise EngineUnavailable("a record was written each time it was deleted")

    def _targets(self) -> list[int]:
        """Generations to write to: each that fits; the present one may not when a fresh one does."""
        if self._filling is not None:
            self._family.fit(self._filling)
            return [self._filling]
        state = self._family.state()
        targets = []
        for generation in state.generations:
            try:
                self._family.fit(generation)
            except ConfigurationError:
                if generation == state.building or state.building is None:
                    raise
            else:
                targets.append(generation)
        return targets

    def _action(self, generation: int, one: Item) -> _Action:
        index = self._family.index_of(generation, one.id)
        if self._filling is None:
            return _indexing(index, one)
        head = _encode({"create": {"_index": index, "_id": one.id}})
        return _Action(one.id, index, head, one.source)

    def _send(self, actions: Sequence[_Action]) -> Iterator[tuple[_Action, int, str]]:
        """What was refused, with status and reason; those refused for want of room are sent again."""
        for pause in (*_BUSY_PAUSES, None):
            busy = []
            for action, status, kind in chain.from_iterable(map(self._sent, _parts(actions))):
                if status == 429 and kind != BLOCKED and pause is not None:
                    busy.append(action)
                else:
                    yield action, status, kind
            if not busy or pause is None:
                return
            self._pause(pause)
            actions = busy

    def _sent(self, actions: Sequence[_Action]) -> list[tuple[_Action, int, str]]:
        """One request; halves of it when it is too large for the server."""
        self._family.ensure(action.index for action in actions)
        body = b"".join(b"%b\n%b\n" % (action.head, action.source) for action in actions)
        try:
            answer = self._family.engine.request("POST", "/_bulk", body=body, filter_path=_FOUND)
        except Refused as error:
            if error.status != 413:
                raise EngineUnavailable(str(error)) from error
            if len(actions) == 1:
                return [(actions[0], 413, TOO_LARGE)]
            half = len(actions) // 2
            return self._sent(actions[:half]) + self._sent(actions[half:])
        told = [outcome for one in answer.get("items", ()) for outcome in one.values()]
        if len(told) != len(actions):
            raise EngineUnavailable("OpenSearch answered for another number of records")
        return [
            (action, outcome["status"], kind_of(outcome.get("error", {}).get("type")))
            for action, outcome in zip(actions, told, strict=True)
            if outcome["status"] >= 300
        ]

    def _versions(self, actions: Sequence[_Action]) -> dict[tuple[str, RecordId], int]:
        """The versions that are there (0: nothing)."""
        docs = [{"_index": one.index, "_id": one.id, "_source": False} for one in actions]
        answer = self._family.engine.request("POST", "/_mget", body={"docs": docs})
        return {
            (one["_index"], RecordId(one["_id"])): one.get("_version", 0) for one in answer["docs"]
        }


def _indexing(index: str, one: Item) -> _Action:
    told = {"_index": index, "_id": one.id, "version": one.version}
    head = _encode({"index": {**told, "version_type": "external_gte"}})
    return _Action(one.id, index, head, one.source)


def _tombstone(record_id: RecordId, now: Micros, version: int) -> Item:
    return Item(record_id, version, _encode({"id": record_id, DELETED: now // 1000}))


def _failure(record_id: RecordId, status: int, kind: str) -> ItemFailure:
    if status == 413:
        return ItemFailure(record_id, TOO_LARGE, transient=False)
    if kind == BLOCKED:
        return ItemFailure(record_id, EngineReadOnly.code, transient=True)
    if status == 429:
        return ItemFailure(record_id, EngineBusy.code, transient=True)
    if status == 503 or kind in _GONE:
        return ItemFailure(record_id, EngineUnavailable.code, transient=True)
    return ItemFailure(record_id, f"search_{kind}", transient=status >= 500)


def _parts(actions: Sequence[_Action]) -> Iterator[list[_Action]]:
    part: list[_Action] = []
    size = 0
    for action in actions:
        if part and size + action.size > BULK_BYTES:
            yield part
            part, size = [], 0
        part.append(action)
        size += action.size
    if part:
        yield part


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _without_surrogates(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(one) for one in value]
    return value
