"""Whether a text matches, without an index: for the few texts that can be looked at one by one."""

from __future__ import annotations

from collections.abc import Sequence

from analect.index.text.expression import Either, Every, Node, Term
from analect.index.text.tokens import words


def matches(expression: Node, text: str) -> bool:
    """Whether an index would find ``text``."""
    found = words(text)
    return _holds(expression, found, frozenset(found))


def _holds(node: Node, found: Sequence[str], vocabulary: frozenset[str]) -> bool:
    match node:
        case Term():
            return _stands(node, found, vocabulary)
        case Every(parts, without):
            return all(_holds(part, found, vocabulary) for part in parts) and not any(
                _holds(part, found, vocabulary) for part in without
            )
        case Either(parts):
            return any(_holds(part, found, vocabulary) for part in parts)


def _stands(term: Term, found: Sequence[str], vocabulary: frozenset[str]) -> bool:
    *before, last = term.words
    if not vocabulary.issuperset(before) or (not term.prefix and last not in vocabulary):
        return False
    for at in range(len(before), len(found)):
        fits = found[at].startswith(last) if term.prefix else found[at] == last
        if fits and list(found[at - len(before) : at]) == before:
            return True
    return False
