r"""Texts as they read once their escapes are undone: JSON inside text, URLs, full-width digits.

What a program has encoded once more (the arguments of a tool's call, a query string in a log)
hides where words end: behind ``\n`` or ``%3D`` a number seems to be part of a word. Such texts
are looked at twice, as they are and as they read, and what is found goes back to its place.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

from analect.privacy.detectors.matching import pattern

_NUMERALS = r"\x{660}-\x{669}\x{6f0}-\x{6f9}\x{966}-\x{96f}\x{ff10}-\x{ff19}"
_WIDE = rf"[{_NUMERALS}\x{{ff0b}}\x{{ff0d}}\x{{ff0e}}\x{{ff21}}-\x{{ff3a}}\x{{ff41}}-\x{{ff5a}}]"
_JSON = r"\\+(?:[nrtfbv/\"]|u[0-9A-Fa-f]{4})"
_URL = r"%[0-9A-Fa-f]{2}"

TRIGGER = rf"[{_NUMERALS}]{{2}}|{_JSON}|{_URL}"
"""RE2 source that matches in every text that reads otherwise than it is written."""

_ESCAPE = pattern(f"{_WIDE}|{_JSON}|{_URL}")


@dataclass(frozen=True, slots=True)
class Unescaped:
    """``blob``: as it reads, parted by NUL like its source. ``_ends``: where each undone escape
    ends in it; ``_sources``: where it ends in the source.
    """

    blob: bytes
    _ends: list[int]
    _sources: list[int]

    def source(self, index: int) -> int:
        """The place in the source of a place in ``blob``."""
        place = bisect_right(self._ends, index) - 1
        return index if place < 0 else self._sources[place] + index - self._ends[place]


def unescape(blob: bytes) -> Unescaped:
    """Undo every escape."""
    pieces: list[bytes] = []
    ends: list[int] = []
    sources: list[int] = []
    position = length = 0
    for match in _ESCAPE.finditer(blob):
        start, end = match.span()
        piece = _meant(blob[start:end])
        pieces += (blob[position:start], piece)
        length += start - position + len(piece)
        ends.append(length)
        sources.append(end)
        position = end
    pieces.append(blob[position:])
    return Unescaped(b"".join(pieces), ends, sources)


_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f", b"b": b"\b", b"v": b"\v"}


def _meant(escape: bytes) -> bytes:
    """The bytes that an escape stands for; a blank for NUL, which parts texts."""
    if escape[0] == ord("%"):
        return bytes([int(escape[1:], 16) or ord(" ")])
    if escape[0] != ord("\\"):
        character = escape.decode()
        digit = unicodedata.digit(character, None)
        # Full-width forms are as far from ASCII as every other one.
        return str(digit).encode() if digit is not None else bytes([ord(character) - 0xFEE0])
    meaning = escape.lstrip(b"\\")  # several where JSON holds JSON that holds JSON
    if meaning[0] == ord("u"):
        code = int(meaning[1:], 16)
        return chr(code).encode() if code and not 0xD800 <= code < 0xE000 else b" "
    return _CONTROLS.get(meaning, meaning)
