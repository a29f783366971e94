"""Records that could not be sent, kept in a folder until the server is back.

They lie there as the program gave them, in clear: the server pseudonymises, not the client. The
folder is readable by its owner only, and a file is gone once the server has answered for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from analect.client.wire import Entry, decode
from analect.model.errors import StoreUnavailable
from analect.model.ids import Clock, RandomBytes


class Spool:
    """A folder of batches, one NDJSON file each, oldest first. Processes may share it: a batch
    that two of them send is stored once, for its records carry their ids.
    """

    def __init__(self, folder: Path, clock: Clock, random_bytes: RandomBytes) -> None:
        self._folder = folder
        self._clock = clock
        self._random_bytes = random_bytes

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep a batch; it is there whole after a crash, or not at all.

        Raises:
            StoreUnavailable: the folder cannot be written.
        """
        name = f"{self._clock():020d}-{os.getpid()}-{self._random_bytes(4).hex()}"
        fresh = self._folder / f".{name}.tmp"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(entry.body + b"\n" for entry in entries)
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self._folder / f"{name}.ndjson")
        except OSError as error:
            raise StoreUnavailable(f"the spool cannot be written: {error.strerror}") from error

    def oldest(self) -> Path | None:
        """The batch to send next."""
        return min(self._folder.glob("*.ndjson"), default=None)

    def read(self, path: Path) -> list[Entry]:
        """The batch in a file; empty when another process was faster."""
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [Entry(_id_of(line), line) for line in lines]

    def remove(self, path: Path) -> None:
        """The server has answered for this batch."""
        path.unlink(missing_ok=True)


def _id_of(line: bytes) -> str:
    flat = decode(line)
    return str(flat.get("id") or flat.get("external_id"))
