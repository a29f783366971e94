"""What a migration brought in, written down before it is stored, so that it can be taken back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from analect.model.errors import NotFound
from analect.model.ids import RecordId


@dataclass(frozen=True, slots=True)
class Brought:
    """A line: a batch of records, or a document by its kind and its id as it is at rest."""

    records: tuple[RecordId, ...] = ()
    document: tuple[str, str] | None = None


class Journal:
    """A file of the home folder, readable by its owner. It holds ids, and nothing of what they
    name; what was there before the migration is not in it.
    """

    def __init__(self, folder: Path, migration: str) -> None:
        self.migration = migration
        self._path = folder / f"{migration}.jsonl"

    def add(self, brought: Brought) -> None:
        """Write a line down, durably."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, msgspec.json.encode(brought) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)

    def batches(self) -> Iterator[Brought]:
        """Everything that was written down.

        Raises:
            NotFound: there is nothing of this migration here.
        """
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError as error:
            raise NotFound(
                f"nothing is known of a migration {self.migration} here: it was made with another "
                "home folder, has been taken back, or brought nothing",
                field="rollback",
            ) from error
        for line in lines:
            try:
                yield msgspec.json.decode(line, type=Brought)
            except msgspec.DecodeError:
                continue  # the last line of a crash; what it names was not stored

    def forget(self) -> None:
        """Nothing of it is there any more."""
        self._path.unlink(missing_ok=True)


def unique(ids: Sequence[RecordId]) -> list[RecordId]:
    """Each once, in order: what was written down and not stored is written down again."""
    return list(dict.fromkeys(ids))
