"""Showing where a text matches."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import islice

from analect.index.text.expression import Node, Term
from analect.index.text.tokens import Span, spans

CONTEXT = 80
"""Characters shown on each side of a match."""
MAX_WORDS = 200_000
"""How far into a text matches are looked for."""


def snippets(expression: Node, text: str, count: int) -> tuple[str, ...]:
    """The first ``count`` places of ``text`` (as NFC) that match, escaped for HTML, with ``<em>``."""
    text = unicodedata.normalize("NFC", text)
    places = _matches(tuple(expression.terms()), spans(text))
    return tuple(_render(text, window) for window in islice(_windows(places), count))


def _matches(terms: Sequence[Term], found: Iterator[Span]) -> Iterator[tuple[int, int]]:
    """Places of matches in order of their last word."""
    by_last: dict[str, list[Term]] = {}
    prefixes = [term for term in terms if term.prefix]
    for term in terms:
        if not term.prefix:
            by_last.setdefault(term.words[-1], []).append(term)
    longest = max(len(term.words) for term in terms)
    recent: list[Span] = []
    for span in islice(found, MAX_WORDS):
        recent.append(span)
        if len(recent) > longest:
            del recent[0]
        for term in by_last.get(span.word, ()):
            if _ends_here(term, recent):
                yield recent[-len(term.words)].start, span.end
        for term in prefixes:
            if span.word.startswith(term.words[-1]) and _ends_here(term, recent):
                single = len(term.words[-1]) == 1 and span.first_end < span.end
                yield recent[-len(term.words)].start, span.first_end if single else span.end


def _ends_here(term: Term, recent: Sequence[Span]) -> bool:
    before = term.words[:-1]
    if len(recent) < len(term.words):
        return False
    behind = recent[-len(term.words) : -1]
    return all(span.word == word for span, word in zip(behind, before, strict=True))


def _windows(matches: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Places that lie close together, overlapping ones as one: a phrase may begin before a match
    that ended earlier.
    """
    window: list[tuple[int, int]] = []
    shown = 0
    for first, last in matches:
        start, end = max(first, shown), last
        if window and start - window[-1][1] > CONTEXT:
            shown = window[-1][1]
            yield window
            window = []
        while window and start <= window[-1][1]:
            earlier = window.pop()
            start, end = min(start, earlier[0]), max(end, earlier[1])
        window.append((start, end))
    if window:
        yield window


def _render(text: str, window: Sequence[tuple[int, int]]) -> str:
    """One snippet around places that lie close together."""
    first, last = _cut_before(text, window[0][0]), _cut_after(text, window[-1][1])
    parts = ["…" if first else ""]
    at = first
    for start, end in window:
        parts.append(escape(text[at:start]))
        parts.append(f"<em>{escape(text[start:end])}</em>")
        at = end
    parts.append(escape(text[at:last]))
    parts.append("…" if last < len(text) else "")
    return "".join(parts)


def _cut_before(text: str, at: int) -> int:
    """Where a snippet begins: at a blank, when one is near."""
    start = max(0, at - CONTEXT)
    if start == 0:
        return 0
    blank = text.find(" ", start, at)
    return start if blank < 0 else blank + 1


def _cut_after(text: str, at: int) -> int:
    end = min(len(text), at + CONTEXT)
    if end == len(text):
        return end
    blank = text.rfind(" ", at, end)
    return end if blank < 0 else blank
