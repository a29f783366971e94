"""Erasing in files: who is concerned, and files written again without them.

What an erased key sealed and must stay is sealed by its new key in the same writing. Every round
looks at the files that stand then, so what a retention run moves meanwhile is found where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from analect.lifecycle.tiers.columns import SCHEMA, stored_records
from analect.lifecycle.tiers.locator import Locator, unpack
from analect.lifecycle.tiers.moving import Mover
from analect.lifecycle.tiers.tables import TierTables
from analect.model.errors import Conflict, StoreUnavailable
from analect.model.ids import Micros, RecordId
from analect.store.erasure import Concerned, Doomed, journal_deletions, save_receipt
from analect.store.purging import forget_beside
from analect.store.rows import StoredRecord
from analect.store.survivors import Moves, Survivors
from analect.store.tier_files import TierFile, TierFiles

_FACTS = ("id", "key_id", "subject", "session_id", "thread_id", "parent_id", "kind")
"""In the order of :class:`Concerned`."""
_SCOPES = {"subject": "subject", "session": "session_id", "thread": "thread_id"}
_ROUNDS = 20


@dataclass(slots=True)
class _Rewriting:
    """What is dropped from one file, and what is sealed again."""

    dropped: list[RecordId] = field(default_factory=list)
    moved: list[StoredRecord] = field(default_factory=list)


class FiledErasure:
    """Callers hold :func:`analect.store.erasure.one_eraser`."""

    def __init__(
        self, files: TierFiles, tables: TierTables, mover: Mover, survivors: Survivors
    ) -> None:
        self._files = files
        self._tables = tables
        self._mover = mover
        self._survivors = survivors

    def find(self, every: Mapping[str, Doomed], taken: set[RecordId]) -> bool:
        """Add what the receipts are about, and evaluations of it; whether there was anything new.

        Raises:
            StoreUnavailable: the place of the files does not answer.
        """
        grown = False
        for file in self._files.standing():
            locator = self._locator(file)
            if locator is None or not _concerns(file, locator, every):
                continue
            for one in self._facts(file):
                if one.id in taken:
                    continue
                for doomed in every.values():
                    evaluates = one.kind == "evaluation" and one.parent_id in doomed.records
                    if evaluates or one.is_of(doomed.receipt):
                        doomed.records[one.id] = one
                        taken.add(one.id)
                        grown = True
                        break
        return grown

    def rewrite(
        self,
        every: Mapping[str, Doomed],
        moves: Moves,
        processors: Sequence[str],
        now: Micros,
    ) -> None:
        """Write the files again that hold doomed records, or what the keys of ``moves`` sealed,
        and delete the old ones. The receipts count what went.

        Raises:
            StoreUnavailable: place or database do not answer, or the files keep changing. What was
                done stays done; running again goes on.
        """
        for _ in range(_ROUNDS):
            try:
                changed = [
                    self._rewritten(file, every, moves, processors, now)
                    for file in self._files.standing()
                ]
            except Conflict:
                continue  # a retention run was quicker: look again
            self._delete_retired(every)
            if not any(changed):
                return
        raise StoreUnavailable("warm files keep changing under this erasure; run it again")

    # -- inside ----------------------------------------------------------------------------

    def _delete_retired(self, every: Mapping[str, Doomed]) -> None:
        """Files that hold what is erased go, whichever backup refers to them; the receipt says
        which those are.
        """
        gone: set[str] = set()

        def at_once(file: TierFile) -> bool:
            locator = self._locator(file)
            concerned = locator is not None and _concerns(file, locator, every)
            if concerned:
                gone.add(file.name)
            return concerned

        waiting = self._mover.delete_retired(at_once)
        broken = {backup for name in gone for backup in waiting.get(name, ())}
        if broken:
            doomed = next(iter(every.values()))
            doomed.receipt = doomed.receipt.breaking(broken)

    def _locator(self, file: TierFile) -> Locator | None:
        raw = self._files.locator(file.name)
        return None if raw is None else unpack(raw)

    def _facts(self, file: TierFile) -> Iterator[Concerned]:
        for table in self._tables.tables(file, _FACTS):
            columns = [table.column(name).to_pylist() for name in _FACTS]
            yield from (Concerned(*row) for row in zip(*columns, strict=True))

    def _rewritten(
        self,
        file: TierFile,
        every: Mapping[str, Doomed],
        moves: Moves,
        processors: Sequence[str],
        now: Micros,
    ) -> bool:
        """Whether the file held anything that had to change."""
        gone = {
            one.id
            for doomed in every.values()
            for one in doomed.records.values()
            if file.first_id <= one.id <= file.last_id and one.kind == file.kind
        }
        if not gone and not self._sealed_by(file, moves):
            return False
        staying = concerned = 0
        for one in self._facts(file):
            staying += one.id not in gone
            concerned += one.id in gone or one.key_id in moves
        if not concerned:
            return False
        done = _Rewriting()
        filed = []
        if staying:
            groups = self._changed(file, gone, moves, done)
            of = (file.kind, file.month)
            filed = [
                self._mover.write(groups, file.tier, of, indexed=file.indexed, state=file.state)
            ]
        else:
            done.dropped = [one.id for one in self._facts(file)]

        def within(connection: Connection) -> bool:
            if done.moved:
                self._survivors.hold(connection, moves)
                self._survivors.reseal_beside(connection, done.moved, moves)
            if done.dropped:
                forget_beside(connection, done.dropped)
                journal_deletions(connection, done.dropped, processors, now)
            _count(connection, every, done)
            return True

        self._mover.publish(filed, [file], within)
        return True

    def _sealed_by(self, file: TierFile, moves: Moves) -> bool:
        locator = self._locator(file) if moves else None
        return locator is not None and any(locator.has("key_id", key_id) for key_id in moves)

    def _changed(
        self, file: TierFile, gone: set[RecordId], moves: Moves, done: _Rewriting
    ) -> Iterator[Any]:
        """The file's row groups without what goes, and with what stays sealed by its new key."""
        for table in self._tables.tables(file):
            ids = table.column("id").to_pylist()
            keep = np.array([one not in gone for one in ids], bool)
            done.dropped += [one for one in ids if one in gone]
            left = table.filter(pa.array(keep))
            if len(left):
                yield self._resealed(left, file.tier, moves, done)

    def _resealed(self, table: Any, tier: str, moves: Moves, done: _Rewriting) -> Any:
        keys = table.column("key_id").to_pylist()
        places = [place for place, key_id in enumerate(keys) if key_id in moves]
        if not places:
            return table
        moving = stored_records(table.take(places), tier)
        done.moved += moving
        payloads = table.column("payload").to_pylist()
        for place, one in zip(places, moving, strict=True):
            move = moves[keys[place]]
            payloads[place] = self._survivors.resealed(one, move)
            keys[place] = move.new.key_id
        for name, values in (("key_id", keys), ("payload", payloads)):
            number = SCHEMA.get_field_index(name)
            table = table.set_column(
                number, SCHEMA.field(name), pa.array(values, SCHEMA.field(name).type)
            )
        return table


def _concerns(file: TierFile, locator: Locator, every: Mapping[str, Doomed]) -> bool:
    """Whether the file may hold something of a receipt, or an evaluation of what is doomed."""
    for doomed in every.values():
        receipt = doomed.receipt
        if receipt.scope == "record":
            if file.first_id <= receipt.target <= file.last_id:
                return True
        elif locator.has(_SCOPES[receipt.scope], receipt.target):
            return True
        if file.kind == "evaluation" and any(
            locator.has("parent_id", record_id) for record_id in doomed.records
        ):
            return True
    return False


def _count(connection: Connection, every: Mapping[str, Doomed], done: _Rewriting) -> None:
    """Each receipt counts its own; what was sealed again counts for the first."""
    gone = set(done.dropped)
    for number, doomed in enumerate(every.values()):
        mine = len(gone & doomed.records.keys())
        first = number == 0
        if mine or first:
            doomed.receipt = doomed.receipt.counting(
                filed_records=mine,
                files_rewritten=int(first),
                sealed_again=len(done.moved) if first else 0,
            )
            save_receipt(connection, doomed.receipt)
