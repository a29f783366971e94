"""What every place can do: named objects that appear whole, once, or not at all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol


class Place(Protocol):
    """Objects by name (``/`` between the parts). An object is written once; only
    :meth:`swap` puts another one in its place. Safe for several threads and processes.

    Every method raises ``StoreUnavailable`` when the place does not answer (``disk_full`` says
    whether it is full) and ``ConfigurationError`` when it refuses the credentials.
    """

    @property
    def address(self) -> str:
        """Where it is, in the form that :func:`analect.lifecycle.places.opening.open_place` takes."""
        ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write an object in the block, of any size, in bounded memory; it appears under its name,
        durable, when the block ends well, and not at all when the block raises.

        Raises:
            Conflict: the name is taken.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """Read an object; the stream can seek.

        Raises:
            NotFound: it is not there.
        """
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """A range of an object, shorter where the object ends.

        Raises:
            NotFound: it is not there.
        """
        ...

    def size(self, name: str) -> int | None:
        """Its bytes; None when it is not there."""
        ...

    def swap(self, name: str, old: bytes, data: bytes) -> bool:
        """Put small ``data`` in place of ``old``, all or nothing; False, and nothing done, when
        something else or nothing is there.
        """
        ...

    def names(self, name: str = "") -> list[str]:
        """The last parts of the names one level below ``name``, objects and levels, in order."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; absent is fine."""
        ...
