"""Import of a file: in batches, each line answered for, and able to go on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from analect.model.errors import Conflict, NotFound
from analect.model.ids import EARLIEST, Micros, RecordId, derived_id
from analect.model.record import Draft, IngestResult, Rejection
from analect.sources.line import Line

OnConflict = Literal["skip", "replace", "error"]
BATCH = 500
_CHUNK = 1 << 20


class Sink(Protocol):
    """Where records go: the façade, or whatever acts like it."""

    def ingest(self, drafts: Sequence[Draft]) -> IngestResult:
        """Store a batch durably; each item stands alone."""
        ...

    def erase(self, scope: str, target: str) -> object:
        """Erase what the target names."""
        ...


@dataclass(slots=True)
class Progress:
    """How far an import is: ``line`` is the last line answered for; the rest are counts."""

    started_at: Micros
    line: int = 0
    read: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    replaced: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a line was not taken; holds no value of it."""

    line: int
    code: str
    reason: str
    field: str | None = None
    place: str | None = None


class Checkpoint:
    """A small file that says how far the import of one content came; absent once it is done."""

    def __init__(self, folder: Path, digest: bytes) -> None:
        self._path = folder / f"{digest.hex()[:32]}.json"

    def load(self) -> Progress | None:
        """Where an earlier run stopped, if one did."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            return None  # written by another release: start over, ids make that harmless

    def save(self, progress: Progress) -> None:
        """Remember; a crash leaves the one before."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_bytes(msgspec.json.encode(asdict(progress)))
        fresh.replace(self._path)

    def forget(self) -> None:
        """The next run starts at the first line."""
        self._path.unlink(missing_ok=True)


def digest_of(path: Path, store: str) -> bytes:
    """What names the import of this content into this store (32 bytes)."""
    digest = hashlib.sha256(store.encode() + b"\0")
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


@dataclass(slots=True)
class Importer:
    """Sends lines to a sink.

    ``digest`` names the file's content: a line without an id gets one derived from it, its
    number and its time, so that importing it again makes duplicates and not twins.
    """

    sink: Sink
    progress: Progress
    on_conflict: OnConflict = "skip"
    digest: bytes | None = None
    checkpoint: Checkpoint | None = None
    refused: Callable[[Refusal], None] = field(default=lambda _: None)
    advanced: Callable[[Progress], None] = field(default=lambda _: None)

    def run(self, lines: Iterable[Line]) -> Progress:
        """Import every line, batch after batch.

        Raises:
            Conflict: an id holds other content already and ``on_conflict`` is ``error``. The
                lines before it, and the rest of its batch, are stored.
            StoreUnavailable: the store stopped answering; run it again to go on.
        """
        batch: list[Line] = []
        for line in lines:
            self.progress.read += 1
            if line.draft is None:
                self._refuse(line, line.error)
            batch.append(line)
            if len(batch) >= BATCH:
                self._take(batch)
                batch = []
        if batch:
            self._take(batch)
        if self.checkpoint is not None:
            self.checkpoint.forget()
        return self.progress

    def _take(self, batch: list[Line]) -> None:
        good = [(line, line.draft) for line in batch if line.draft is not None]
        for line, draft in good:
            self._name(line.number, draft)
        result = self.sink.ingest([draft for _, draft in good])
        progress = self.progress
        progress.stored += result.accepted
        progress.duplicates += result.duplicates
        clashes = []
        for rejection in result.rejected:
            line, draft = good[rejection.index]
            if rejection.code == "conflict":
                clashes.append((line, draft, rejection))
            else:
                self._refuse(line, rejection)
        for line, draft, rejection in clashes:
            self._settle_conflict(line, draft, rejection)
        progress.line = batch[-1].number
        if self.checkpoint is not None:
            self.checkpoint.save(progress)
        self.advanced(progress)

    def _name(self, number: int, draft: Draft) -> None:
        """Give a line without an id the same one every time."""
        if self.digest is None or draft.id is not None or draft.external_id is not None:
            return
        if draft.occurred_at is None:
            draft.occurred_at = self.progress.started_at
        if draft.occurred_at >= EARLIEST:  # an earlier one is refused by the store, with its reason
            draft.id = derived_id(self.digest, "line", str(number), draft.occurred_at)

    def _settle_conflict(self, line: Line, draft: Draft, rejection: Rejection) -> None:
        progress = self.progress
        progress.conflicts += 1
        if self.on_conflict == "error":
            raise Conflict(
                f"line {line.number}: its id is stored already with other content; use --on-conflict "
                "skip to keep what is stored, or replace to erase it and take the line",
                field="id",
            )
        if self.on_conflict == "replace":
            with suppress(NotFound):  # someone else erased it meanwhile
                self.sink.erase("record", RecordId(rejection.id or draft.id or ""))
            again = self.sink.ingest([draft])
            progress.replaced += again.accepted
            for still in again.rejected:
                self._refuse(line, still)

    def _refuse(self, line: Line, why: Rejection | Exception | None) -> None:
        self.progress.refused += 1
        reason = why.message if isinstance(why, Rejection) else str(why)
        code, field = getattr(why, "code", "invalid"), getattr(why, "field", None)
        self.refused(Refusal(line.number, code, reason, field, line.place))
