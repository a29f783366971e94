"""What every detector stands on: RE2 over UTF-8 bytes, and a look at what stands around a match.

A detector sees a whole record at once: its texts joined by NUL, a key of a JSON object followed
by NUL ``:`` NUL and its value. No pattern crosses a bare NUL, and a key is context for its value.
RE2 has no look-around and runs in linear time; what a pattern cannot say (a checksum, a
neighbour) is said in Python about the few places where it matched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

ASSIGNED = b"\0:\0"
"""Between a key and its value."""

SEPARATOR = r"[ .\-\x{a0}\x{2009}\x{202f}\x{2010}-\x{2015}]"
"""What people put between groups of digits (dashes and blanks of typesetting too)."""

APART = r"[^0-9A-Za-z_]"
"""In triggers, in place of a word boundary (a blob begins with NUL, so there is one before)."""

_MEMORY = 16 << 20
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS = frozenset(b"0123456789")
_JOINERS = frozenset(b"-./:,")
_SENTENCE_END = re.compile(rb"[a-z]{3}\.$")


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes ``start:end`` hold personal data; ``value`` is it in normal form."""

    start: int
    end: int
    value: str


Check = Callable[[bytes, int, int], Found | None]
"""Judges a match: the finding, perhaps of other bounds, or ``None``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way of finding one kind. ``trigger`` (RE2 source) must match wherever ``find`` finds."""

    kind: str
    trigger: str
    find: Callable[[bytes], Iterator[Found]]


def pattern(source: str) -> Any:
    """Compile for UTF-8 bytes. RE2 falls back to a slower way when its memory is full; it need
    not say so on stderr.
    """
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return re2.compile(source.encode(), options)


def pattern_set(sources: Sequence[str], memory: int = _MEMORY) -> Any:
    """What tells in one pass which of several patterns occur: ``Match(blob)`` gives their places
    in ``sources``, or ``None``.
    """
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    compiled = re2.Set.SearchSet(options)
    for source in sources:
        compiled.Add(source.encode())
    compiled.Compile()
    return compiled


_WORD_AHEAD = r"[^A-Za-z0-9_\x{80}-\x{10ffff}]*[A-Za-z0-9_\x{80}-\x{10ffff}]+|(?s:.)"
_LONG = 1000


def finder(
    source: str, check: Check, *, past: str = _WORD_AHEAD
) -> Callable[[bytes], Iterator[Found]]:
    """Search with ``source``; where ``check`` says no, go on behind what ``past`` matches there.

    Where ``source`` has a group, what is judged is the group, and the rest its context. A long
    match that fails is passed over whole: retrying inside would take quadratic time.
    """
    compiled = pattern(source)
    group = compiled.groups
    skip = pattern(past)

    def find(blob: bytes) -> Iterator[Found]:
        position = 0
        while (match := compiled.search(blob, position)) is not None:
            start, end = match.span(group)
            found = check(blob, start, end)
            if found is not None:
                yield found
                position = max(found.end, start + 1)
            elif end - start > _LONG:
                position = end
            else:
                position = skip.match(blob, start).end()

    return find


def rule(
    kind: str, source: str, check: Check, *, trigger: str | None = None, past: str = _WORD_AHEAD
) -> Rule:
    """A rule of one pattern and its check."""
    return Rule(kind, trigger or source, finder(source, check, past=past))


def text(blob: bytes, start: int, end: int) -> str:
    """The characters of a span."""
    return blob[start:end].decode("utf-8", "replace")


def digits(blob: bytes, start: int, end: int) -> str:
    """The ASCII digits of a span."""
    return bytes(c for c in blob[start:end] if c in _DIGITS).decode()


def is_word(blob: bytes, index: int) -> bool:
    """Whether an ASCII letter, digit or underscore stands at ``index`` (outside: no)."""
    return 0 <= index < len(blob) and blob[index] in _WORD


def is_digit(blob: bytes, index: int) -> bool:
    """Whether an ASCII digit stands at ``index`` (outside: no)."""
    return 0 <= index < len(blob) and blob[index] in _DIGITS


def stands_alone(blob: bytes, start: int, end: int) -> bool:
    """Whether a number of groups is whole: no word, nor a joiner and a word, on either side."""
    if is_word(blob, start - 1) or is_word(blob, end):
        return False
    if start > 0 and blob[start - 1] in _JOINERS and is_word(blob, start - 2):
        # "at:415-555-2671" and "done.415-555-2671" are prose, "12:415" and "a-415" parts of more.
        if is_digit(blob, start - 2):
            return blob[start - 1] == ord(",")
        return (
            blob[start - 1] in b":,"
            or _SENTENCE_END.search(blob[max(0, start - 8) : start]) is not None
        )
    if end < len(blob) and blob[end] in _JOINERS:
        return not is_digit(blob, end + 1) and not (blob[end] in b"-/" and is_word(blob, end + 1))
    return True


def before(blob: bytes, start: int, width: int = 40) -> bytes:
    """Up to ``width`` bytes in front, the key included where the text is a value."""
    piece = blob[max(0, start - width) : start].replace(ASSIGNED, b": ")
    return piece[piece.rfind(b"\0") + 1 :]
