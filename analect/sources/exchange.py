"""Export to a file that appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal, Protocol

from analect.model.errors import InvalidInput, StoreUnavailable
from analect.model.flat import format_time
from analect.model.query import Document
from analect.model.record import Record
from analect.sources.csv_records import CsvWriter
from analect.sources.jsonl import JsonLinesWriter
from analect.sources.parquet import ParquetWriter

Format = Literal["jsonl", "csv", "parquet"]
_STEP = 500


class RecordWriter(Protocol):
    """A file format."""

    def write(self, record: Record) -> None:
        """Append one record."""
        ...

    def close(self) -> None:
        """Write what is left; the stream stays open."""
        ...


_WRITERS: dict[str, Callable[[IO[bytes]], RecordWriter]] = {
    "jsonl": JsonLinesWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
}


def format_of(path: str, asked: str | None, *, allowed: Iterable[str] = _WRITERS) -> str:
    """The format asked for, else the one the file's name says, else JSON Lines.

    Raises:
        InvalidInput: the format is not one of ``allowed``.
    """
    by_name = {".csv": "csv", ".parquet": "parquet"}.get(Path(path).suffix.lower(), "jsonl")
    wanted = asked or by_name
    if wanted not in allowed:
        raise InvalidInput(f"format must be one of {', '.join(allowed)}", field="format")
    return wanted


def export_records(
    records: Iterable[Record],
    target: Path | None,
    form: str,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write records in the order they come; how many.

    Args:
        records: taken one at a time, in bounded memory.
        target: the file, replaced only once everything is written; ``None`` is standard output.
        form: ``jsonl``, ``csv`` or ``parquet``.
        progress: told now and then how many are written.
    """
    count = 0
    with whole_file(target) as stream:
        writer = _WRITERS[form](stream)
        for record in records:
            writer.write(record)
            count += 1
            if progress is not None and count % _STEP == 0:
                progress(count)
        writer.close()
    return count


def export_documents(documents: Iterable[Document], target: Path) -> int:
    """Write documents as JSON Lines; how many. Without any there is no file."""
    iterator = iter(documents)
    first = next(iterator, None)
    if first is None:
        return 0
    count = 0
    with whole_file(target) as stream:
        writer = JsonLinesWriter(stream)
        for document in _again(first, iterator):
            writer.write_object(document_to_flat(document))
            count += 1
    return count


def document_to_flat(document: Document) -> dict[str, object]:
    """A document as a JSON object; what was not said is left out."""
    flat: dict[str, object] = {
        "kind": document.kind,
        "id": document.id,
        "version": document.version,
        "owner": document.owner,
        "status": document.status,
        "body": document.body,
        "created_at": format_time(document.created_at),
        "updated_at": format_time(document.updated_at),
        "expires_at": None if document.expires_at is None else format_time(document.expires_at),
    }
    return {name: value for name, value in flat.items() if value is not None}


def documents_beside(target: Path) -> Path:
    """Where the documents of an export to ``target`` go."""
    return target.with_name(f"{target.stem}.documents.jsonl")


def _again(first: Document, rest: Iterator[Document]) -> Iterator[Document]:
    yield first
    yield from rest


@contextmanager
def whole_file(target: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that takes its name only when the block ends well.

    Raises:
        InvalidInput: the folder does not exist or may not be written.
        StoreUnavailable: its disk is full.
    """
    if target is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise InvalidInput(
            f"cannot write into {target.parent}: {error.strerror}", field="file"
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreUnavailable(f"the export was not written: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
