"""A small store with keys, for the tests of erasing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import Engine, insert, select

from analect.index.catalog import Indexes
from analect.lifecycle.erase import Eraser
from analect.model.ids import new_id
from analect.model.record import Draft
from analect.privacy.kek import FileKek
from analect.privacy.keyring import FolderKeyRing
from analect.privacy.keys import DataKeys, keys_of_ring
from analect.privacy.scope import document_scope, scope_of
from analect.privacy.seal import Sealer, annotation_binding, document_binding
from analect.privacy.vault import open_vault_row, vault_row
from analect.store.append import KeyRace, SealedDraft
from analect.store.cursor import Cursors
from analect.store.engine import read_transaction, write_transaction
from analect.store.key_rows import SqlKeyRows
from analect.store.rows import COLUMNS, stored_record
from analect.store.store import Store
from analect.store.tables import annotation_rows, data_keys, records, vault

DAY = 86_400_000_000
NOW = 1_760_000_000_000_000


class FakeIndex:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.purged = 0
        self.failing: Exception | None = None

    def delete(self, ids):
        if self.failing is not None:
            raise self.failing
        self.held -= set(ids)

    def purge(self):
        self.purged += 1


class Crash(BaseException):
    """The process ends here."""


@dataclass
class World:
    """One process on a database and a ring."""

    engine: Engine
    folder: Path
    step: Callable[[str], None] = lambda _name: None
    now: int = NOW
    index: FakeIndex = field(default_factory=FakeIndex)

    def __post_init__(self) -> None:
        self.ring = FolderKeyRing(self.folder / "ring")
        path = self.folder / "ring.kek"
        self.keys: DataKeys = keys_of_ring(
            self.ring,
            lambda _id, fresh: FileKek(path, os.urandom, create=fresh),
            SqlKeyRows(self.engine),
            clock=self.clock,
            random_bytes=os.urandom,
        )
        self.sealer = Sealer(os.urandom)
        self.store = Store(self.engine, cursors=Cursors(self.keys.pseudonym_key), clock=self.clock)
        self.eraser = Eraser(
            self.engine,
            self.keys,
            self.sealer,
            Indexes(text=self.index),  # type: ignore[arg-type]
            clock=self.clock,
            random_bytes=os.urandom,
            patience=0.2,
            step=lambda name: self.step(name),  # noqa: PLW0108  (a test sets it later)
        )

    def clock(self) -> int:
        self.now += 1
        return self.now

    def put(self, text: str, *, vault_values=(), **fields) -> str:
        """Store a record whose input is ``text``; its id."""
        at = fields.pop("at", NOW - DAY)
        draft = Draft(id=new_id(at, os.urandom), occurred_at=at, input=text, **fields)
        return self.append([draft], vault_values)[0]

    def append(self, drafts, vault_values=()) -> list[str]:
        while True:
            scopes = [scope_of(draft, self.keys.pseudonym_key) for draft in drafts]
            keys = self.keys.for_scopes(sorted(set(scopes)))
            ids = [key.key_id for key in keys.values()]
            sealed = [
                SealedDraft(
                    draft,
                    NOW,
                    keys[scope].key_id,
                    self.sealer.seal(keys[scope], draft.id, (draft.input, None, None, None)),
                    os.urandom(16),
                )
                for draft, scope in zip(drafts, scopes, strict=True)
            ]
            rows = [vault_row(self.sealer, keys[scopes[0]], t, v) for t, v in vault_values]
            try:
                self.store.append(
                    sealed,
                    processors=("text",),
                    new_keys=self.keys.pending_rows(ids),
                    vault_rows=rows,
                    dedupe=True,
                ).result(20)
            except KeyRace as race:
                self.keys.discard(race.key_ids)
                continue
            self.keys.committed(ids)
            self.index.held.update(draft.id for draft in drafts)
            return [draft.id for draft in drafts]

    def annotate(self, record_id: str, text: str) -> None:
        with write_transaction(self.engine) as connection:
            wanted = select(records.c.key_id).where(records.c.id == record_id)
            key_id = connection.execute(wanted).scalar_one()
            key = self.keys.by_ids([key_id])[key_id]
            binding = annotation_binding(record_id, "topics", "summary")
            row = {
                "record_id": record_id,
                "processor": "topics",
                "name": "summary",
                "processor_version": 1,
                "key_id": key_id,
                "text": self.sealer.seal_bytes(key, binding, text.encode()),
                "created_at": NOW,
            }
            connection.execute(insert(annotation_rows), row)

    def annotation(self, record_id: str) -> str | None:
        with read_transaction(self.engine) as connection:
            wanted = select(annotation_rows).where(annotation_rows.c.record_id == record_id)
            row = connection.execute(wanted).first()
        if row is None:
            return None
        key = self.keys.by_ids([row.key_id])[row.key_id]
        binding = annotation_binding(record_id, "topics", "summary")
        return self.sealer.open_bytes(key, binding, row.text).decode()

    def document(self, document_id: str, text: str, owner: str | None) -> None:
        scope = document_scope("story", document_id, owner, self.keys.pseudonym_key)
        key = self.keys.for_scopes([scope])[scope]
        body = self.sealer.seal_bytes(key, document_binding("story", document_id), text.encode())
        self.store.documents.put(
            "story",
            document_id,
            body,
            key_id=key.key_id,
            new_keys=self.keys.pending_rows([key.key_id]),
            owner=owner,
            now=NOW,
        )
        self.keys.committed([key.key_id])

    def read_document(self, document_id: str, version: int | None = None) -> str | None:
        found = self.store.documents.get("story", document_id, version)
        if found is None:
            return None
        key = self.keys.by_ids([found.key_id])[found.key_id]
        binding = document_binding("story", document_id)
        return self.sealer.open_bytes(key, binding, found.body).decode()

    def texts(self) -> dict[str, str]:
        """Every record that is there, opened: input by id."""
        with read_transaction(self.engine) as connection:
            rows = connection.execute(select(*(records.c[name] for name in COLUMNS))).fetchall()
        stored = [stored_record(row) for row in rows]
        keys = self.keys.by_ids(list({one.key_id for one in stored}))
        return {
            one.record.id: self.sealer.open(one.payload, one.record.id, keys)[0] for one in stored
        }

    def revealed(self) -> dict[str, str]:
        with read_transaction(self.engine) as connection:
            rows = connection.execute(select(vault)).fetchall()
        keys = self.keys.by_ids([row.key_id for row in rows])
        return {
            row.token: open_vault_row(self.sealer, keys[row.key_id], row.token, row.sealed)
            for row in rows
        }

    def close(self) -> None:
        self.store._writer.close()


@dataclass(frozen=True)
class Copy:
    """What somebody who copied the database has: wrapped keys, sealed payloads, raw bytes."""

    keys: list[tuple[int, int, bytes, bytes]]
    payloads: list[tuple[str, bytes]]
    raw: bytes

    @classmethod
    def of(cls, engine: Engine, files: list[Path]) -> Copy:
        with read_transaction(engine) as connection:
            keys = [
                (row.key_id, row.shard, bytes(row.scope), bytes(row.wrapped))
                for row in connection.execute(select(data_keys))
            ]
            rows = connection.execute(select(records.c.id, records.c.payload)).fetchall()
        raw = b"".join(path.read_bytes() for path in files)
        return cls(keys, [(row.id, bytes(row.payload)) for row in rows], raw)


def attack(world: World, copies: list[Copy]) -> set[str]:
    """Every input that opens with the ring and the key-encryption key that exist now.

    Each wrapped key found in any copy, as a row or by its scope in the raw bytes, is tried with
    every shard key in the ring; whatever opens is tried on every payload of every copy.
    """
    materials = _materials(world, copies)
    opened = set()
    for record_id, blob in {payload for copy in copies for payload in copy.payloads}:
        for key_id, material in materials:
            if key_id == int.from_bytes(blob[2:10], "big"):
                text = _try_payload(world, record_id, blob, key_id, material)
                if text is not None:
                    opened.add(text)
    return opened


def _materials(world: World, copies: list[Copy]) -> set[tuple[int, bytes]]:
    from cryptography.exceptions import InvalidTag

    shards = world.keys.shards
    generations = [(s, g) for s, found in shards.generations().items() for g in found]
    ciphers = [(shard, shards._cipher(shard, generation)) for shard, generation in generations]
    tries = {(k, s, wrapped) for copy in copies for k, s, _, wrapped in copy.keys}
    scopes = {(k, s, scope) for copy in copies for k, s, scope, _ in copy.keys}
    for copy in copies:
        for key_id, shard, scope in scopes:
            place = copy.raw.find(scope)
            while place >= 0:
                for gap in range(5):
                    start = place + 16 + gap
                    tries.add((key_id, shard, copy.raw[start : start + 60]))
                place = copy.raw.find(scope, place + 1)
    kept = {row for s, g in generations for row in shards.kept(s, g)}
    tries |= {(row.key_id, row.shard, row.wrapped) for row in kept}
    found = set()
    for key_id, shard, wrapped in tries:
        binding = b"data key\0" + bytes([shard]) + key_id.to_bytes(8, "big")
        for _, cipher in ciphers:
            try:
                found.add((key_id, cipher.decrypt(wrapped[:12], wrapped[12:], binding)))
            except (InvalidTag, ValueError):
                continue
    return found


def _try_payload(world, record_id, blob, key_id, material) -> str | None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from analect.model.errors import Corrupt
    from analect.privacy.keys import DataKey

    key = DataKey(key_id, 0, b"", material, AESGCM(material))
    try:
        return str(world.sealer.open(blob, record_id, {key_id: key})[0])
    except (Corrupt, msgspec.MsgspecError):
        return None
