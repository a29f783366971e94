"""Copies of warm and cold files beside the backups: one of each, whichever backups refer to it.

A file never changes under its name, so its copy never does. A copy is encrypted like everything
else in a backup: the wrapped keyset, then a stream that is bound to the file's name. In the stream
stands, behind its length, what the tiers keep beside the file, then the file.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import tink

from analect.lifecycle.backup.format import Remembering, binding, exactly, telling
from analect.lifecycle.backup.manifest import FILES, Catalog, HeldFile
from analect.lifecycle.places.hashing import READ_BYTES
from analect.lifecycle.places.place import Place
from analect.model.errors import Conflict, Corrupt, KeyUnavailable, NotFound
from analect.store.tier_files import TierFile, manifest_name

_LENGTH = struct.Struct(">I")
_KEYSET = 4096
"""Bytes of a wrapped keyset, at most."""
_LEVELS = 4
"""Of a file's name: tier, kind, month, the file."""


class FileCopies:
    """The copies in one place of backups, of one store."""

    def __init__(self, catalog: Catalog) -> None:
        self._place = catalog.place
        self._keys = catalog.keys
        self._root = catalog.path(FILES)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def names(self) -> set[str]:
        """The files that have one."""
        return set(names_below(self._place, self._root))

    def has(self, name: str) -> bool:
        """Whether there is a copy of a file."""
        return self._place.size(self._path(name)) is not None

    def make(self, file: TierFile, tiers: Place) -> None:
        """Copy a file, hashed on the way; it counts only if it is what was written.

        Raises:
            NotFound: it is not there.
            Corrupt: it is not what was written.
        """
        try:
            with self._writing(file.name) as out:
                copy_file(tiers, file.name, file.sha256, out, beside=kept_beside(tiers, file.name))
        except Conflict:
            return  # another process was first

    def remove(self, name: str) -> None:
        """Remove a copy that no backup refers to."""
        self._place.delete(self._path(name))

    @contextmanager
    def open(self, held: HeldFile) -> Iterator[tuple[bytes, Iterator[bytes]]]:
        """What stands beside the file, and the file in parts; that it is whole is known at the end.

        Raises:
            Corrupt: there is no copy, or it does not verify.
        """
        path = self._path(held.name)
        try:
            beneath = self._place.open(path)
        except NotFound as error:
            raise Corrupt(f"the copy {path} is not there") from error
        with beneath:
            source = Remembering(beneath)
            try:
                (length,) = _LENGTH.unpack(exactly(beneath, _LENGTH.size))
                keyset = exactly(beneath, min(length, _KEYSET))
                cipher = self._keys.open(_bound(held.name), keyset)
                with cipher.new_decrypting_stream(source, binding(FILES, held.name)) as stream:
                    (size,) = _LENGTH.unpack(exactly(stream, _LENGTH.size))
                    beside = exactly(stream, size)
                    yield beside, _hashed(stream, held, path)
            except (tink.TinkError, struct.error, KeyUnavailable) as error:
                if source.error is not None:
                    raise source.error from error
                raise Corrupt(
                    f"the copy {path} does not verify: it was cut, changed, or swapped with another"
                ) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[BinaryIO]:
        cipher, keyset = self._keys.fresh(_bound(name))
        with self._place.create(self._path(name)) as stream:
            stream.write(_LENGTH.pack(len(keyset)) + keyset)
            beneath = Remembering(stream)
            with (
                telling(beneath),
                cipher.new_encrypting_stream(
                    cast("BinaryIO", beneath), binding(FILES, name)
                ) as whole,
            ):
                yield cast("BinaryIO", whole)


def names_below(place: Place, root: str = "") -> Iterator[str]:
    """The names of all files of tiers below ``root``."""
    names = [""]
    for level in range(_LEVELS):
        names = [
            f"{name}/{end}".lstrip("/")
            for name in names
            for end in (
                place.names(f"{root}/{name}".strip("/"))
                if level or root
                else (one for one in place.names() if one in {"warm", "cold"})
            )
        ]
    yield from names


def copy_file(
    source: Place, name: str, sha256: str, out: BinaryIO, *, beside: bytes | None = None
) -> None:
    """Write a file to a stream, behind what stands beside it when that is given.

    Raises:
        NotFound: it is not there.
        Corrupt: it is not what was written.
    """
    whole = hashlib.sha256()
    with source.open(name) as stream:
        if beside is not None:
            out.write(_LENGTH.pack(len(beside)) + beside)
        while part := stream.read(READ_BYTES):
            whole.update(part)
            out.write(part)
    if whole.hexdigest() != sha256:
        raise Corrupt(f"{name} in {source.address} is not the file that was written")


def kept_beside(tiers: Place, name: str) -> bytes:
    """What the tiers say of a file beside it; nothing where that is lost: it can be done without."""
    try:
        with tiers.open(manifest_name(name)) as stream:
            return stream.read()
    except NotFound:
        return b""


def _hashed(stream: BinaryIO, held: HeldFile, path: str) -> Iterator[bytes]:
    whole = hashlib.sha256()
    while part := stream.read(READ_BYTES):
        whole.update(part)
        yield part
    if whole.hexdigest() != held.sha256:
        raise Corrupt(f"the copy {path} is not the file that the backup speaks of")


def _bound(name: str) -> str:
    return f"{FILES}/{name}"
