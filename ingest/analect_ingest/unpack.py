"""Packed request bodies, unpacked within a bound."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import zstandard

from analect.model.errors import InvalidInput, InvalidQuery, TooLarge

_GZIP = 31
"""zlib's window bits for gzip with its header and checksum."""
_BITE = 256
"""Bytes of zstd taken at once. A block of 128 KiB of zeros takes 4 bytes, so that a bite unpacks
to 8 MiB at the very most, and a bomb is stopped that soon."""
_WINDOW = 8 * 1024 * 1024
"""The largest zstd window, as RFC 8878 recommends."""


class UnsupportedMedia(InvalidInput):
    """A content type or encoding that is not understood."""

    code = "unsupported_media"


def unpacker(encoding: str | None) -> Callable[[bytes, int], bytes] | None:
    """What undoes a Content-Encoding, ``None`` for none; called with the body and the bound.

    Raises:
        UnsupportedMedia: nothing does.
    """
    match (encoding or "identity").strip().lower():
        case "identity":
            return None
        case "gzip" | "x-gzip":
            return unpack_gzip
        case "zstd":
            return unpack_zstd
    raise UnsupportedMedia(
        "Content-Encoding must be gzip, zstd or identity", field="Content-Encoding"
    )


def unpack_gzip(packed: bytes, most: int) -> bytes:
    """One or several members (RFC 1952).

    Raises:
        TooLarge: it unpacks to more than ``most`` bytes.
        InvalidQuery: it is broken or ends too early.
    """
    out: list[bytes] = []
    size = 0
    rest = packed
    while rest:
        inflate = zlib.decompressobj(_GZIP)
        try:
            piece = inflate.decompress(rest, most - size + 1)
        except zlib.error as error:
            raise _unreadable("gzip") from error
        size += len(piece)
        _bound(size, most)
        out.append(piece)
        if not inflate.eof:
            raise _unreadable("gzip")
        rest = inflate.unused_data
    return b"".join(out)


def unpack_zstd(packed: bytes, most: int) -> bytes:
    """One or several frames (RFC 8878).

    Raises:
        TooLarge: it unpacks to more than ``most`` bytes.
        InvalidQuery: it is broken or ends too early.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    out: list[bytes] = []
    size = place = 0
    while place < len(packed):
        frame = decompressor.decompressobj()
        while not frame.eof:
            if place >= len(packed):
                raise _unreadable("zstd")
            bite = packed[place : place + _BITE]
            try:
                piece = frame.decompress(bite)
            except zstandard.ZstdError as error:
                raise _unreadable("zstd") from error
            place += len(bite) - len(frame.unused_data)
            size += len(piece)
            _bound(size, most)
            out.append(piece)
    return b"".join(out)


def _bound(size: int, most: int) -> None:
    if size > most:
        raise TooLarge(
            f"the body unpacks to over {most} bytes (http.max_unpacked_bytes): send fewer "
            "records at once",
            field="body",
        )


def _unreadable(name: str) -> InvalidQuery:
    return InvalidQuery(f"the body is not complete {name} data", field="body")
